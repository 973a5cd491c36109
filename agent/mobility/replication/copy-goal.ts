import type { Checkpoint, VolumeRecord } from '../../model/model.ts'

/** A checkpoint that is to be brought here, and who waits for it. */
export class CopyGoal {
  /** Sources are asked with its epoch. */
  readonly record: VolumeRecord
  readonly checkpoint: Checkpoint
  /** Ids of the hosts that have it, best first. */
  sources: readonly string[]
  /** Until when it is retried, on the clock's elapsedMs. */
  untilMs: number
  readonly reached: Promise<void>
  readonly #settle: { resolve: () => void; reject: (error: unknown) => void }

  constructor(record: VolumeRecord, checkpoint: Checkpoint, sources: readonly string[], untilMs: number) {
    this.record = record
    this.checkpoint = checkpoint
    this.sources = sources
    this.untilMs = untilMs
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // Nobody has to wait for it.
    promise.catch(() => undefined)
    this.reached = promise
    this.#settle = { resolve, reject }
  }

  /** Adds another caller that wants the same checkpoint. */
  join(sources: readonly string[], untilMs: number): void {
    this.sources = [...new Set([...sources, ...this.sources])]
    this.untilMs = Math.max(this.untilMs, untilMs)
  }

  reach(): void {
    this.#settle.resolve()
  }

  miss(error: unknown): void {
    this.#settle.reject(error)
  }
}
