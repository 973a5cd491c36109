import type { Clock } from '../../runtime/clock.ts'
import type { SpoolRound, Store } from '../../store/contract.ts'

/** Pre-copy rounds before a checkpoint. If these cannot keep up with the writes, the pause comes as it is. */
const MAX_ROUNDS = 8
/** Share of the pause budget for reading. The rest is for pausing, resuming and errors of the estimate. */
const BUDGET_FOR_READING = 0.5

/** What pre-copy rounds found. */
export interface PreCopy {
  /** Something differs from the last checkpoint. */
  readonly changed: boolean
  /** The pause is predicted to fit the budget. */
  readonly fits: boolean
}

/**
 * Reads and spools changes while containers run, until the pause is predicted to fit the budget or rounds do not help.
 * A round takes about as long as the one before, because it reads what was written meanwhile. If the kernel reports
 * changes, it takes less by as much as there was less time to write.
 * `sinceMs`: when the previous round ended (the clock's elapsedMs); null: unknown.
 * `onRound` is called after each round. Rejects as `Store.spoolRound`.
 */
export async function runPreCopyRounds(
  { store, clock }: { readonly store: Pick<Store, 'spoolRound'>; readonly clock: Pick<Clock, 'elapsedMs'> },
  id: string,
  budgetMs: number,
  sinceMs: number | null,
  signal: AbortSignal,
  onRound: (round: SpoolRound) => void,
): Promise<PreCopy> {
  let spooledBefore = Number.POSITIVE_INFINITY
  let beforeMs = sinceMs
  for (let rounds = 1; ; rounds++) {
    signal.throwIfAborted()
    const startMs = clock.elapsedMs()
    const round = await store.spoolRound(id, signal)
    onRound(round)
    const { changed, bytesSpooled, scanned } = round
    const tookMs = clock.elapsedMs() - startMs
    const gatheredMs = startMs - (beforeMs ?? startMs)
    const nextMs = scanned === null && tookMs < gatheredMs ? (tookMs * tookMs) / gatheredMs : tookMs
    const fits = nextMs <= budgetMs * BUDGET_FOR_READING
    if (!changed || fits || bytesSpooled >= spooledBefore || rounds === MAX_ROUNDS) return { changed, fits }
    spooledBefore = bytesSpooled
    beforeMs = startMs
  }
}
