import type { SpoolRound } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'

/** A volume that is written to faster than this many rounds can follow has to be stopped as it is. */
const MOST_ROUNDS = 8
/** The other part of the budget is for pausing, for resuming, and for what the guess is wrong by. */
const BUDGET_FOR_ROUND = 0.5

/**
 * Reads and spools while the containers run, round after round, until the last round would fit the pause budget, or further rounds do not
 * help. How long a round takes is the best guess of how long the next one does: it reads what was written meanwhile. Where the tracker says what that was, the next one takes as
 * much less as there is less time to write in. `sinceMs` (the clock's elapsedMs): when the round before the first one was; null: not known. Answers whether anything differs from the last checkpoint, and whether the last round is likely to fit the budget; `played` is told of each round. Rejects as `Store.spoolRound`.
 */
export async function runPreCopyRounds(
  { store, clock }: Pick<Dependencies, 'store' | 'clock'>,
  id: string,
  budgetMs: number,
  sinceMs: number | null,
  signal: AbortSignal,
  played: (round: SpoolRound) => void,
): Promise<{ readonly changed: boolean; readonly fits: boolean }> {
  let spooledBefore = Number.POSITIVE_INFINITY
  let beforeMs = sinceMs
  for (let rounds = 1; ; rounds++) {
    signal.throwIfAborted()
    const startMs = clock.elapsedMs()
    const round = await store.spoolRound(id, signal)
    played(round)
    const { changed, bytesSpooled, scanned } = round
    const tookMs = clock.elapsedMs() - startMs
    const gatheredMs = startMs - (beforeMs ?? startMs)
    const nextMs = scanned === null && tookMs < gatheredMs ? (tookMs * tookMs) / gatheredMs : tookMs
    const fits = nextMs <= budgetMs * BUDGET_FOR_ROUND
    if (!changed || fits || bytesSpooled >= spooledBefore || rounds === MOST_ROUNDS) return { changed, fits }
    spooledBefore = bytesSpooled
    beforeMs = startMs
  }
}
