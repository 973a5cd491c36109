import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { NatsLink } from '../bus/connection.ts'
import type { StandaloneStore } from '../bus/standalone-store.ts'
import { WherryError } from '../model/errors.ts'
import type { RemovedRecord, VolumeRecord } from '../model/model.ts'
import { apiCode } from './api-code.ts'
import { Bucket, type BucketContent, NO_STREAM } from './bucket.ts'
import type { Write } from './contract.ts'
import { removedSchema, volumeSchema } from './schema.ts'
import { BUCKETS } from './setup.ts'

/** A server reads its store again within a second; one with a slow disk gets more. */
const SERVE_TIMEOUT_MS = 30_000

const POLL_MS = 100

/** Attempts to migrate one record; each is safe to repeat. */
const ATTEMPTS = 5

export interface CarryTarget {
  readonly volumes: Bucket<VolumeRecord>
  readonly removed: Bucket<RemovedRecord>
}

/**
 * Migrates the records of a single host into the cluster's registry, then sets the old store aside.
 * Overwrites nothing: a name that another volume has stays as it is, and is reported in a line of its own.
 * Safe to repeat after any failure.
 */
export async function carryOver(
  old: StandaloneStore,
  target: CarryTarget,
  log: Logger,
  signal: AbortSignal,
): Promise<string[]> {
  const conflicts = await carryRecords(old, target, log, signal)
  const path = await old.retire(new Date(), conflicts)
  log.info({ path, conflicts: conflicts.length }, 'the records of this host were carried over; its old store is kept')
  return conflicts
}

async function carryRecords(
  old: StandaloneStore,
  target: CarryTarget,
  log: Logger,
  signal: AbortSignal,
): Promise<string[]> {
  await using server = await old.serve()
  await using link = new NatsLink({ endpoint: server.endpoint, name: 'wherry carry-over', log })
  await connected(link, signal)
  const volumes = await contentOf(new Bucket(BUCKETS.volumes, volumeSchema, link))
  const removed = await contentOf(new Bucket(BUCKETS.removed, removedSchema, link))
  const conflicts = [...volumes.damaged, ...removed.damaged].map(({ reason }) => `Not carried over: ${reason}`)
  for (const { value } of removed.entries) await settle(value.name, () => target.removed.add(value.id, value))
  for (const { value } of volumes.entries) {
    const conflict = await carryVolume(value, target)
    if (conflict !== null) conflicts.push(conflict)
  }
  return conflicts
}

async function carryVolume(record: VolumeRecord, target: CarryTarget): Promise<string | null> {
  // It was migrated before, and has been removed since.
  if ((await target.removed.read(record.id)) !== null) return null
  if (await settle(record.name, () => target.volumes.add(record.name, record))) return null
  const there = await target.volumes.read(record.name)
  if (there === null)
    throw new WherryError('VOLUME_BUSY', `Volume ${record.name} was removed while it was carried over.`)
  if (there.value.id === record.id) return null
  return (
    `Volume ${record.name} (${record.id}) of this host was not carried over: the cluster has another volume of ` +
    `that name (${there.value.id}). This host's data stays in its state directory under volumes/${record.id}.`
  )
}

/** True: the record is in; false: the name has another record. */
async function settle<T>(name: string, write: () => Promise<Write<T>>): Promise<boolean> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const answer = await write()
    if (answer.outcome !== 'unknown') return answer.outcome === 'done'
  }
  throw new WherryError('REGISTRY_UNAVAILABLE', `The record of ${name} could not be carried over yet.`)
}

async function connected(link: NatsLink, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + SERVE_TIMEOUT_MS
  while (!link.state().connected) {
    signal.throwIfAborted()
    if (performance.now() > deadline) link.connection()
    await sleep(POLL_MS)
  }
}

/** A host that was single only for moments may never have made its buckets. */
async function contentOf<T>(bucket: Bucket<T>): Promise<BucketContent<T>> {
  try {
    return await bucket.readAll()
  } catch (error) {
    if (apiCode((error as Error).cause) === NO_STREAM) return { entries: [], damaged: [] }
    throw error
  }
}
