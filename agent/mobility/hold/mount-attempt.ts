import type { WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import type { RunningCopy } from '../copy-contract.ts'
import { ownLabel } from '../own-host.ts'
import { dataMissing, stillReleasing } from './errors.ts'

/** A copy continues for this long after its Mount gave up, so that the next one joins it. */
export const WANTED_AFTER_MOUNT_MS = 10 * 60_000

/** What a Mount may touch. */
export type MountContext = Pick<
  Context,
  | 'dependencies'
  | 'hosts'
  | 'locks'
  | 'wakeups'
  | 'copyManager'
  | 'treeChecks'
  | 'lease'
  | 'expiry'
  | 'guardedVolumes'
  | 'containerUses'
  | 'releases'
  | 'releaseTroubles'
  | 'volumeTroubles'
  | 'stateDisk'
  | 'pendingMounts'
  | 'confirmed'
  | 'surrendered'
  | 'endedUses'
>

/** One Mount call that waits for its volume. */
export interface MountAttempt {
  readonly name: string
  readonly mountId: string
  readonly deadlineMs: number
  readonly signal: AbortSignal
  /** The copy this Mount waits for. */
  job: RunningCopy | null
  /** Since when the holder says that it cannot release, and when it was asked last; null: it can. */
  stuck: { readonly sinceMs: number; readonly askedMs: number } | null
  /**
   * The last tree of a holder that cannot write its disk.
   * Null: it cannot be had; undefined: nobody asked.
   */
  left: Checkpoint | null | undefined
}

/** Returns why the Mount has to wait for a copy, with its progress. */
export function waitForCopy(context: Pick<Context, 'dependencies' | 'hosts'>, job: RunningCopy): WherryError {
  const view = job.view('')
  const { source, lastError } = job
  const from = source === null ? null : context.hosts.labelWithAge(source)
  const isAway = source !== null && !context.hosts.alive(source)
  return dataMissing(view.volume, ownLabel(context), { lastError, from, isAway, view })
}

/**
 * Returns why the copy that this Mount waits for has failed; null: it has not.
 * The copy of a removed volume whose name was used again does not count.
 */
export function copyFailure({ job }: MountAttempt, { id }: VolumeRecord): Error | null {
  return job?.id === id ? job.failure() : null
}

/**
 * Runs `work` under the volume's lock, unless the deadline passes first.
 * Then the work is never begun: nobody would wait for its result.
 */
export async function withinDeadline<T>(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks'>,
  volume: Pick<VolumeRecord, 'id' | 'name'>,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T | WherryError> {
  let begun = false
  const run = context.locks.run(volume.id, async () => {
    if (signal.aborted) return null
    begun = true
    return { result: await work() }
  })
  const first = await nullOnAbort(run, signal)
  const outcome = begun ? await run : first
  return outcome === null ? stillReleasing(volume.name, ownLabel(context)) : outcome.result
}
