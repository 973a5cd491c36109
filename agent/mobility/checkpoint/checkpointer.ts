import { codeOf, type ErrorCode } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'
import type { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { LocalCopy, SpoolRound } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { CheckpointResult } from '../dependencies.ts'
import type { Coverage } from './coverage.ts'
import { freezeAndCapture, overBudget } from './freeze.ts'
import { runPreCopyRounds } from './precopy.ts'
import type { Schedule } from './schedule.ts'
import type { CheckpointedHold } from './sink.ts'
import { nextSeq } from './surrendered.ts'

/** Pauses run one after another: a container may have several volumes, and one pause must not end another. */
const PAUSE = 'pause'

const RESULTS: ReadonlyMap<ErrorCode | undefined, CheckpointResult> = new Map([
  ['VOLUME_BUSY', 'over_budget'],
  ['CHANGES_MISSED', 'missed'],
])

type CheckpointerContext = Pick<Context, 'dependencies' | 'containerUses' | 'liveCaptures' | 'givenSeqs'>

/** Takes checkpoints of one held volume. One at a time: the caller sees to that. */
export class Checkpointer {
  readonly #context: CheckpointerContext
  readonly #hold: CheckpointedHold
  readonly #schedule: Schedule
  readonly #coverage: Coverage
  readonly #pauses: KeyedQueue
  #pauseMs: number | null = null
  /** When the newest pre-copy round ended. */
  #roundMs: number | null = null

  /** `pauses` is shared by all volumes of the host. Results go to `schedule` and `coverage`. */
  constructor(
    context: CheckpointerContext,
    hold: CheckpointedHold,
    schedule: Schedule,
    coverage: Coverage,
    pauses: KeyedQueue,
  ) {
    this.#context = context
    this.#hold = hold
    this.#schedule = schedule
    this.#coverage = coverage
    this.#pauses = pauses
  }

  /** How long containers were paused for the newest checkpoint; null: they were not. */
  get pauseMs(): number | null {
    return this.#pauseMs
  }

  /**
   * Takes a checkpoint, or returns the last one when nothing has changed since. Durable on return.
   * Null: the volume is not in use here. May be repeated after any error.
   * VOLUME_BUSY: the pause exceeds the budget, or would. CHANGES_MISSED: the tracker did not report all changes.
   * Also rejects as `freezeAndCapture`.
   */
  async take(signal: AbortSignal): Promise<Checkpoint | null> {
    try {
      return await this.#take(signal)
    } catch (error) {
      const result = RESULTS.get(codeOf(error)) ?? 'failed'
      if (!signal.aborted) this.#context.dependencies.tally.checkpoint(this.#hold.name, result)
      throw error
    }
  }

  async #take(signal: AbortSignal): Promise<Checkpoint | null> {
    const { store, clock, pauseBudgetMs } = this.#context.dependencies
    const { id, incarnation } = this.#hold
    const local = await store.copy(id)
    if (local?.held?.incarnation !== incarnation || !(await store.mounted()).has(id)) return null
    signal.throwIfAborted()
    const startMs = clock.elapsedMs()
    const { changed, fits } = await this.#preCopy(signal)
    const roundsMs = clock.elapsedMs() - startMs
    if (!changed && local.checkpoint !== null) {
      this.#schedule.account(roundsMs)
      return this.#unchanged(local.checkpoint, startMs)
    }
    if (fits) this.#schedule.pauseFits()
    else if (!this.#schedule.mayPauseAgainstEstimate) {
      this.#schedule.account(roundsMs)
      throw overBudget(local.name, pauseBudgetMs)
    }
    try {
      const checkpoint = await this.#pauseAndCommit(local, roundsMs, signal)
      this.#schedule.pauseFits()
      return checkpoint
    } catch (error) {
      if (!fits && codeOf(error) === 'VOLUME_BUSY') this.#schedule.pauseExceeded(startMs)
      throw error
    }
  }

  async #preCopy(signal: AbortSignal): Promise<{ readonly changed: boolean; readonly fits: boolean }> {
    const { dependencies } = this.#context
    const note = ({ scanned }: SpoolRound) => {
      this.#noteWholeFiles(scanned)
      this.#roundMs = dependencies.clock.elapsedMs()
    }
    const { pauseBudgetMs } = dependencies
    return await runPreCopyRounds(dependencies, this.#hold.id, pauseBudgetMs, this.#roundMs, signal, note)
  }

  #noteWholeFiles(why: string | null): void {
    if (!this.#schedule.noteWholeFiles(why)) return
    const { log } = this.#context.dependencies
    const volume = this.#hold.name
    if (why === null) log.info({ volume }, 'kernel reports changes: checkpoints read changed blocks only')
    else log.info({ volume, why }, 'kernel does not report changes: checkpoints read changed files whole')
  }

  async #pauseAndCommit(local: LocalCopy, roundsMs: number, signal: AbortSignal): Promise<Checkpoint> {
    const { store, clock, log, tally } = this.#context.dependencies
    let startMs = clock.elapsedMs()
    const inTurn = <T>(pause: () => Promise<T>) =>
      this.#pauses.run(PAUSE, () => {
        signal.throwIfAborted()
        startMs = clock.elapsedMs()
        return pause()
      })
    try {
      const { capture, atMs, at, pauseMs } = await freezeAndCapture(this.#context, local, inTurn, signal)
      this.#pauseMs = pauseMs
      if (local.checkpoint?.hash === capture.hash) return this.#unchanged(local.checkpoint, atMs)
      const { hash, bytes, files } = capture
      const [epoch, seq] = [local.held?.epoch ?? local.epochSeen, nextSeq(this.#context, local)]
      const checkpoint = { epoch, seq, hash, at, bytes, files }
      signal.throwIfAborted()
      await store.spoolCommit(local.id, checkpoint)
      log.debug({ volume: local.name, epoch, seq, pauseMs }, 'checkpoint taken')
      tally.checkpoint(local.name, 'taken')
      this.#coverage.remember(checkpoint, atMs)
      return checkpoint
    } finally {
      this.#schedule.account(roundsMs + clock.elapsedMs() - startMs)
    }
  }

  #unchanged(last: Checkpoint, atMs: number): Checkpoint {
    this.#context.dependencies.tally.checkpoint(this.#hold.name, 'unchanged')
    this.#coverage.remember(last, atMs)
    return last
  }
}
