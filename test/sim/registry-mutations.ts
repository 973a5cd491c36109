import type { Dependencies } from '../../agent/mobility/dependencies.ts'
import { copyFields } from '../../agent/mobility/record/checkpoint-order.ts'
import type { VolumeRecord } from '../../agent/model/model.ts'
import type { Machine } from './machine.ts'
import { replaceMethods, withReading } from './replace-methods.ts'

/** A checkpoint on this disk with the order of the newest one is taken for it. */
export function overlookHashes(parts: Dependencies, machine: Machine): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    const last = entry?.value.last ?? null
    const mine = entry === null ? null : (machine.disk.shelf(entry.value.id)?.record.checkpoint ?? null)
    if (entry === null || last === null || mine?.epoch !== last.epoch || mine.seq !== last.seq) return entry
    return { ...entry, value: { ...entry.value, last: { ...last, hash: mine.hash } } }
  })
}

/** A host that finds its heartbeat replaced writes a new one, as if nothing had happened. */
export function overlookExpiry(parts: Dependencies): Dependencies {
  const { registry, self } = parts
  const updateHost: typeof registry.updateHost = async (record, revision) => {
    const write = await registry.updateHost(record, revision)
    if (write.outcome !== 'refused' || record.id !== self.id) return write
    const found = (await registry.hosts()).find(({ value }) => value.id === self.id)
    return found === undefined ? write : await registry.updateHost(record, found.revision)
  }
  return { ...parts, registry: replaceMethods(registry, { updateHost }) }
}

/** A read without a reply is taken for the reply that there is nothing. */
export function overlookSilence(parts: Dependencies): Dependencies {
  const { registry } = parts
  return { ...parts, registry: replaceMethods(registry, { volume: (name) => registry.volume(name).catch(() => null) }) }
}

/** Records do not say that their list of take-overs was cut. */
export function forgetCutSeizures(parts: Dependencies): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (entry === null) return null
    const { seizuresCut, ...record } = entry.value
    return seizuresCut === undefined ? entry : { ...entry, value: { ...record, seizures: record.seizures.slice(1) } }
  })
}

/** A host without a copy takes an idle volume for one that was never written. */
export function overlookLast(parts: Dependencies, machine: Machine): Dependencies {
  const { registry } = parts
  const read: typeof registry.volume = async (name) => {
    const entry = await registry.volume(name)
    if (entry === null || entry.value.holder !== null) return entry
    if (machine.disk.shelf(entry.value.id) !== undefined) return entry
    return { ...entry, value: { ...entry.value, last: null } }
  }
  return { ...parts, registry: replaceMethods(registry, { volume: read }) }
}

/** Every copy is taken for current, and every comparison for equal. */
export function believeCopies(parts: Dependencies, { world }: Machine): Dependencies {
  const { registry, peers } = parts
  const ask: typeof peers.ask = async (host, question, signal) =>
    question.kind === 'compare'
      ? { hash: world.checker.oracle.of(question.volume)?.record.last?.hash ?? null, why: null }
      : await peers.ask(host, question, signal)
  const asCurrent = (record: VolumeRecord): VolumeRecord => {
    const { last } = record
    if (last === null) return record
    const copies = Object.entries(record.copies).map(([host, copy]) => {
      return [host, { ...copy, ...copyFields(last), state: 'current' as const }] as const
    })
    return { ...record, copies: Object.fromEntries(copies) }
  }
  return withReading({ ...parts, peers: { ask } }, async (name) => {
    const entry = await registry.volume(name)
    return entry === null ? null : { ...entry, value: asCurrent(entry.value) }
  })
}

/** A volume that is made anew gets the id that the name had before. */
export function reuseIds(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addVolume: typeof registry.addVolume = (record) => registry.addVolume({ ...record, id: `id-${record.name}` })
  return { ...parts, registry: replaceMethods(registry, { addVolume }) }
}

/** Hosts that are away never learn of a removal. */
export function forgetTombstones(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addRemoved: typeof registry.addRemoved = async (value) => ({ outcome: 'done', entry: { value, revision: 1 } })
  return { ...parts, registry: replaceMethods(registry, { addRemoved }) }
}

/** Tombstones do not say which hosts were given up. */
export function forgetLost(parts: Dependencies): Dependencies {
  const { registry } = parts
  const addRemoved: typeof registry.addRemoved = (value) => registry.addRemoved({ ...value, lost: undefined })
  return { ...parts, registry: replaceMethods(registry, { addRemoved }) }
}

/** Heartbeats do not carry what their host cannot release. */
export function sayNothing(parts: Dependencies): Dependencies {
  const { registry } = parts
  const updateHost: typeof registry.updateHost = (record, revision) =>
    registry.updateHost({ ...record, stuck: {}, unwritable: null }, revision)
  return { ...parts, registry: replaceMethods(registry, { updateHost }) }
}

/** The hold that an offer claims is taken for the registry's. */
export function believeOffers(parts: Dependencies, { world, host }: Machine): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    const claim = entry === null || world.hostile?.host === host ? undefined : world.hostile?.claims.get(entry.value.id)
    return entry === null || claim === undefined ? entry : { ...entry, value: claim }
  })
}

/** A host that finds a tombstone does not look whether the record says otherwise. */
export function believeTombstones(parts: Dependencies): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (entry === null || entry.value.holder !== null) return entry
    const isBuried = (await registry.removed()).some(({ value }) => value.id === entry.value.id)
    return isBuried ? null : entry
  })
}

/** The options about take-overs are ignored. */
export function overlookPolicy(parts: Dependencies): Dependencies {
  const { registry } = parts
  return withReading(parts, async (name) => {
    const entry = await registry.volume(name)
    if (entry === null) return null
    const options = { ...entry.value.options, failover: 'auto', onIsolation: 'pause' } as const
    return { ...entry, value: { ...entry.value, options } }
  })
}
