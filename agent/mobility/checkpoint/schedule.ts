import type { VolumeOptions } from '../../model/model.ts'
import { checkpointTargetMs } from '../../model/volume-options.ts'
import { backOffMs, RETRY_MOST_MS } from '../../runtime/back-off.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { Demand } from './demand.ts'

/** Until the first scan, it is unknown whether the kernel reports changes. */
const UNKNOWN = ''

/** When the next checkpoint of one hold is due: by its interval, its cost and what failed before. */
export class Schedule {
  readonly #id: string
  readonly #options: VolumeOptions
  readonly #clock: Pick<Clock, 'elapsedMs'>
  #intervalMs: number
  #dueMs: number
  /** Mean cost; null until the second checkpoint: the first reads what containers write when they start. */
  #costMs: number | null = null
  #accounted = 0
  #failures = 0
  /** Longest back-off after the newest failure; undefined: the usual one. */
  #longestMs: number | undefined
  /** Consecutive over-budget pauses taken against the estimate, and when to try again. */
  #overBudgetPauses = 0
  #pauseAgainMs = Number.NEGATIVE_INFINITY
  /** Why changed files are read whole; null: they are not. */
  #wholeFiles: string | null = UNKNOWN

  /** `id` and `options` are the volume's; its options want checkpoints. */
  constructor(id: string, options: VolumeOptions, clock: Pick<Clock, 'elapsedMs'>) {
    this.#id = id
    this.#options = options
    this.#clock = clock
    this.#intervalMs = this.#targetMs
    this.#dueMs = clock.elapsedMs() + this.#intervalMs
  }

  get isDue(): boolean {
    return this.#clock.elapsedMs() >= this.#dueMs
  }

  get intervalMs(): number {
    return this.#intervalMs
  }

  /** Consecutive checkpoints that failed. */
  get failures(): number {
    return this.#failures
  }

  /** Why changed files are read whole; null: they are not, or it is not known yet. */
  get wholeFiles(): string | null {
    return this.#wholeFiles === UNKNOWN ? null : this.#wholeFiles
  }

  /** The share of time that the volume asks for. */
  get demand(): Demand {
    return { key: this.#id, targetMs: this.#targetMs, costMs: this.#costMs ?? 0 }
  }

  get #targetMs(): number {
    return checkpointTargetMs(this.#options, this.#wholeFiles === null) ?? Number.POSITIVE_INFINITY
  }

  /** Sets the time between checkpoints. A back-off that runs keeps its end. */
  setInterval(ms: number): void {
    this.#dueMs += this.#failures === 0 ? ms - this.#intervalMs : 0
    this.#intervalMs = ms
  }

  /** Takes in why changed files are read whole (null: they are not). Returns whether that is new. */
  noteWholeFiles(why: string | null): boolean {
    const isNew = why !== this.#wholeFiles
    this.#wholeFiles = why
    return isNew
  }

  /** Takes in how long a checkpoint took, without the wait for its turn. */
  account(costMs: number): void {
    if (this.#accounted++ === 0) return
    this.#costMs = this.#costMs === null ? costMs : (this.#costMs + costMs) / 2
  }

  /** Whether a pause may be taken now although the pre-copy rounds predict that it exceeds the budget. */
  get mayPauseAgainstEstimate(): boolean {
    return this.#clock.elapsedMs() >= this.#pauseAgainMs
  }

  /** A pause fits the budget, or is predicted to: the back-off of pauses ends. */
  pauseFits(): void {
    this.#overBudgetPauses = 0
  }

  /** A pause that was taken against the estimate exceeded the budget, in a checkpoint that began at `startMs`. */
  pauseExceeded(startMs: number): void {
    this.#overBudgetPauses++
    this.#pauseAgainMs = startMs + backOffMs(this.#intervalMs, this.#overBudgetPauses)
  }

  succeeded(): void {
    this.#failures = 0
  }

  /** `isHopeless`: the tree as it is can never be captured, and each try reads a large part of it. */
  failed(isHopeless: boolean): void {
    this.#failures++
    this.#longestMs = isHopeless ? RETRY_MOST_MS : undefined
  }

  /**
   * Sets when the next checkpoint is due, after one that began at `startMs`.
   * Only pauses back off while they exceed the budget. Pre-copy rounds keep their pace: they pause no container, and
   * predict when a pause will fit.
   */
  next(startMs: number): void {
    this.#dueMs =
      startMs + backOffMs(this.#intervalMs, this.#overBudgetPauses > 0 ? 0 : this.#failures, this.#longestMs)
  }
}
