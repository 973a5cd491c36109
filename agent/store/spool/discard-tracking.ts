import type { Logger } from 'pino'
import type { Tracking } from '../changes/tree-changes.ts'
import type { LocalCopy } from '../contract.ts'
import type { Spool } from './spool.ts'

interface DiscardParts {
  readonly tracking: Tracking
  /** The spool of the volume whose tracking was found wrong; the caller has its turn. */
  readonly spool: Spool
  readonly others: readonly LocalCopy[]
  /** Discards the tracking of another volume, in its own turn. */
  readonly forget: (id: string, name: string) => Promise<void>
  readonly log: Logger
}

/**
 * Stops using a tracker that was found wrong, and discards what was recorded of every tree.
 * For the other volumes this happens after the return.
 */
export async function discardTracking(
  { tracking, spool, others, forget, log }: DiscardParts,
  error: Error,
): Promise<void> {
  if ('tracker' in tracking) tracking.tracker.disable(error.message)
  await spool.discardTracking()
  for (const { id, name } of others) {
    forget(id, name).catch((err: unknown) => log.error({ err, id }, 'saved tree states could not be discarded'))
  }
}
