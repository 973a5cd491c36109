import type { Logger } from 'pino'
import type { Tracking } from '../changes/tree-changes.ts'
import type { LocalCopy } from '../contract.ts'
import type { Spool } from './spool.ts'

interface DistrustParts {
  readonly tracking: Tracking
  /** Of the volume of which the tracker was found wrong; the caller has its turn. */
  readonly spool: Spool
  readonly others: readonly LocalCopy[]
  /** The same for one of the others, in its own turn. */
  readonly forget: (id: string, name: string) => Promise<void>
  readonly log: Logger
}

/** The tracker was wrong: it is not asked any more, and nothing that was seen of any tree counts. For the others that comes true after the return. */
export async function distrust({ tracking, spool, others, forget, log }: DistrustParts, error: Error): Promise<void> {
  if ('tracker' in tracking) tracking.tracker.disable(error.message)
  await spool.distrust()
  for (const { id, name } of others) {
    forget(id, name).catch((err: unknown) => log.error({ err, id }, 'what was seen of a tree could not be dropped'))
  }
}
