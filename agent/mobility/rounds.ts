import type { Parts } from './parts.ts'

/** A volume that is written to faster than this many rounds can follow has to be stopped as it is. */
const MOST_ROUNDS = 8
/** The other part of the budget is for pausing, for resuming, and for the difference between this round and the next. */
const BUDGET_FOR_ROUND = 0.5

/**
 * Reads and spools while the containers run, round after round, until the last round would fit the pause budget, or further rounds do not
 * help. How long a round takes is the best guess of how long the next one does: it reads what was written meanwhile. False: nothing differs from the
 * last checkpoint. Rejects as `Store.spoolRound`.
 */
export async function runRounds(
  { store, clock }: Pick<Parts, 'store' | 'clock'>,
  id: string,
  budgetMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  let spooledBefore = Number.POSITIVE_INFINITY
  for (let round = 1; round <= MOST_ROUNDS; round++) {
    signal.throwIfAborted()
    const startMs = clock.elapsedMs()
    const { changed, bytesSpooled } = await store.spoolRound(id, signal)
    if (!changed) return false
    const fits = clock.elapsedMs() - startMs <= budgetMs * BUDGET_FOR_ROUND
    if (fits || bytesSpooled >= spooledBefore) break
    spooledBefore = bytesSpooled
  }
  return true
}
