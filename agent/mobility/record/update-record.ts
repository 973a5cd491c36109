import { codeOf } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Registry, Versioned } from '../../registry/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import { unconfirmed } from './errors.ts'

/** Between two tries: bearable for a registry that elects a leader, short beside every deadline. */
export const RETRY_MS = 200

/**
 * An operator's command waits no longer for a registry that does not reply.
 * One that elects a leader replies by then.
 */
export const COMMAND_WAIT_MS = 10_000

/** What a change of a record needs from outside. */
export interface RecordAccess {
  readonly registry: Pick<Registry, 'volume' | 'updateVolume'>
  readonly clock: Dependencies['clock']
}

/** What `change` returns when the read is older than what is known for certain: read again. */
export const STALE_READ = Symbol('stale read')

/**
 * Changes a volume's record by compare-and-set until the change is known to stand.
 * `change` gets the record as read (null: the registry says there is none). It returns the new record, the very same
 * object when nothing is left to do, or STALE_READ; it throws to give up.
 * It must recognise its own earlier write (by incarnation): after an unacknowledged write it is called again.
 * Rejects REGISTRY_UNAVAILABLE when `signal` aborts first: the change may then still have happened.
 * A read older than `atLeastRevision`, or than an earlier read, is skipped. `written`: the record is committed; else
 * it was only read.
 */
export async function changeVolume(
  dependencies: RecordAccess,
  name: string,
  change: (record: VolumeRecord | null) => VolumeRecord | null | typeof STALE_READ,
  signal: AbortSignal,
  atLeastRevision = 0,
): Promise<{ entry: Versioned<VolumeRecord> | null; written: boolean }> {
  let cause: unknown
  let newestRevision = atLeastRevision
  while (!signal.aborted) {
    try {
      const read = await dependencies.registry.volume(name)
      // Another server may be behind: a read that is older than what is known is no reason to give up.
      const isStale = read !== null && read.revision < newestRevision
      newestRevision = Math.max(newestRevision, read?.revision ?? 0)
      const next = isStale ? STALE_READ : change(read?.value ?? null)
      if (next !== STALE_READ) {
        if (next === (read?.value ?? null)) return { entry: read, written: false }
        if (next === null || read === null) throw new Error('a change neither adds nor deletes a record')
        const write = await dependencies.registry.updateVolume(next, read.revision)
        if (write.outcome === 'done') return { entry: write.entry, written: true }
        if (write.outcome === 'unknown') cause = write.cause
      }
    } catch (error) {
      if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') throw error
      cause = error
    }
    await dependencies.clock.sleep(RETRY_MS, signal)
  }
  throw unconfirmed(name, cause)
}

/** Reads a volume's record, waiting for the registry until `signal` aborts. */
export async function readVolume(
  dependencies: Pick<Dependencies, 'registry' | 'clock'>,
  name: string,
  signal: AbortSignal,
): Promise<Versioned<VolumeRecord> | null> {
  return await untilAnswered(dependencies.clock, () => dependencies.registry.volume(name), signal)
}

/**
 * Returns what `ask` resolves to.
 * Retries while it rejects REGISTRY_UNAVAILABLE, until `signal` aborts.
 */
export async function untilAnswered<T>(
  clock: Dependencies['clock'],
  ask: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (codeOf(error) !== 'REGISTRY_UNAVAILABLE' || signal.aborted) throw error
    }
    await clock.sleep(RETRY_MS, signal)
  }
}
