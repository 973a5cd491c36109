import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { NatsLink } from '../bus/connection.ts'
import type { StandaloneStore } from '../bus/standalone-store.ts'
import { WherryError } from '../model/errors.ts'
import type { RemovedRecord, VolumeRecord } from '../model/model.ts'
import { apiCode } from './api-code.ts'
import { Bucket, type BucketContent, contentOf, NO_STREAM } from './bucket.ts'
import type { Write } from './contract.ts'
import { removedSchema, volumeSchema } from './schema.ts'
import { BUCKETS } from './setup.ts'

/** A server with an existing store starts within a second. One with a slow disk gets more. */
const SERVE_TIMEOUT_MS = 30_000

const POLL_MS = 100

/** Attempts to write one record. Each may be repeated. */
const ATTEMPTS = 5

export interface MigrationTarget {
  readonly volumes: Bucket<VolumeRecord>
  readonly removed: Bucket<RemovedRecord>
}

/**
 * Copies the records of a standalone host into the cluster's registry, then sets the old store aside.
 * Overwrites nothing. Returns one line for each volume whose name the cluster uses for another volume.
 * May be repeated after any failure.
 */
export async function migrateStandalone(
  old: StandaloneStore,
  target: MigrationTarget,
  log: Logger,
  signal: AbortSignal,
): Promise<string[]> {
  const conflicts = await copyRecords(old, target, log, signal)
  const path = await old.retire(new Date(), conflicts)
  log.info({ path, conflicts: conflicts.length }, 'standalone records migrated; the old store is kept')
  return conflicts
}

async function copyRecords(
  old: StandaloneStore,
  target: MigrationTarget,
  log: Logger,
  signal: AbortSignal,
): Promise<string[]> {
  await using server = await old.serve()
  await using link = new NatsLink({ endpoint: server.endpoint, name: 'wherry migration', log })
  await connected(link, signal)
  const volumes = await readContent(new Bucket(BUCKETS.volumes, volumeSchema, link))
  const removed = await readContent(new Bucket(BUCKETS.removed, removedSchema, link))
  const conflicts = [...volumes.damaged, ...removed.damaged].map(({ reason }) => `Not carried over: ${reason}`)
  for (const { value } of removed.entries) await settle(value.name, () => target.removed.add(value.id, value))
  for (const { value } of volumes.entries) {
    const conflict = await copyVolume(value, target)
    if (conflict !== null) conflicts.push(conflict)
  }
  return conflicts
}

async function copyVolume(record: VolumeRecord, target: MigrationTarget): Promise<string | null> {
  // It was migrated before and has been removed since.
  if ((await target.removed.read(record.id)) !== null) return null
  if (await settle(record.name, () => target.volumes.add(record.name, record))) return null
  const there = await target.volumes.read(record.name)
  if (there === null) throw new WherryError('VOLUME_BUSY', `Volume ${record.name} was removed during its migration.`)
  if (there.value.id === record.id) return null
  return [
    `Volume ${record.name} (${record.id}) of this host was not carried over:`,
    `the cluster has another volume of that name (${there.value.id}).`,
    `This host's data stays in its state directory under volumes/${record.id}.`,
  ].join(' ')
}

/** Writes a record. True: it is there; false: another one is. */
async function settle<T>(name: string, write: () => Promise<Write<T>>): Promise<boolean> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { outcome } = await write()
    if (outcome !== 'unknown') return outcome === 'done'
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

/** Reads a bucket. A host that was standalone only for moments may never have created it. */
async function readContent<T>(bucket: Bucket<T>): Promise<BucketContent<T>> {
  try {
    return contentOf((await bucket.all()).flatMap(({ value }) => value ?? []))
  } catch (error) {
    if (apiCode((error as Error).cause) === NO_STREAM) return { entries: [], damaged: [] }
    throw error
  }
}
