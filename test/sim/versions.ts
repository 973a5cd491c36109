import { z } from 'zod'
import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { checkpointFields } from '../../agent/model/record-schema.ts'
import type { Registry, Versioned } from '../../agent/registry/contract.ts'
import { hostSchema, removedSchema, volumeSchema } from '../../agent/registry/schema.ts'
import type { LocalCopy } from '../../agent/store/contract.ts'
import { localCopyFields } from '../../agent/store/disk/copy-schema.ts'
import type { Query } from '../../agent/transfer/contract.ts'
import { querySchema } from '../../agent/transfer/wire/query-schema.ts'
import { asNewer } from '../fake/newer-version.ts'
import type { Machine } from './machine.ts'
import { replaceMethods } from './replace-methods.ts'

/** `volume.json` without the rule that hashes are SHA-256: here they are short. */
const copySchema = z.looseObject(localCopyFields)
const checkpointSchema = z.looseObject(checkpointFields)

/** Of a run with two versions. */
const MARK = 1

/**
 * The dependencies of an agent in a run with two versions in one cluster.
 * Whatever it reads or is sent passes the schemas that ship. The newer version adds a field to every object that it
 * writes to the registry, to a disk or to another host.
 */
export function asVersion(parts: Dependencies, machine: Machine): Dependencies {
  if (!machine.world.scenarios.has('versions')) return parts
  const isNewer = machine.newer
  const written = <T>(value: T): T => (isNewer ? asNewer(value, MARK) : value)
  machine.disk.rewrite = (copy) => copySchema.parse(json(written(copy))) as unknown as LocalCopy
  const ask: typeof parts.peers.ask = async (host, question, signal) => {
    const reply = await parts.peers.ask(host, received(written(question)), signal)
    return machine.world.machine(host.address).newer ? asNewer(json(reply), MARK) : json(reply)
  }
  const publish: typeof parts.bus.publish = (subject, message) => parts.bus.publish(subject, json(written(message)))
  return { ...parts, registry: versioned(parts.registry, written), peers: { ask }, bus: { ...parts.bus, publish } }
}

function versioned(registry: Registry, written: <T>(value: T) => T): Registry {
  return replaceMethods(registry, {
    volume: async (name) => {
      const entry = await registry.volume(name)
      return entry === null ? null : parsed(volumeSchema, entry)
    },
    volumes: async () => (await registry.volumes()).map((entry) => parsed(volumeSchema, entry)),
    removed: async () => (await registry.removed()).map((entry) => parsed(removedSchema, entry)),
    hosts: async () => (await registry.hosts()).map((entry) => parsed(hostSchema, entry)),
    addVolume: (record) => registry.addVolume(json(written(record))),
    updateVolume: (record, revision) => registry.updateVolume(json(written(record)), revision),
    addRemoved: (record) => registry.addRemoved(json(written(record))),
    updateRemoved: (record, revision) => registry.updateRemoved(json(written(record)), revision),
    addHost: (record) => registry.addHost(json(written(record))),
    updateHost: (record, revision) => registry.updateHost(json(written(record)), revision),
  })
}

function parsed<T>(schema: z.ZodType<T>, { value, revision }: Versioned<T>): Versioned<T> {
  return { value: schema.parse(json(value)), revision }
}

/** A question as the other host decodes it. */
function received(question: Query): Query {
  const sent = json(question)
  if (sent.kind !== 'offer') return querySchema.parse(sent)
  const { kind, record, checkpoint, from } = sent
  return { kind, record: volumeSchema.parse(record), checkpoint: checkpointSchema.parse(checkpoint), from }
}

/** A value as it comes out of a file or a message. */
function json<T>(value: T): T {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T)
}
