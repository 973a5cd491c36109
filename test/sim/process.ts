import type { Timeline, TimelineEvent } from '../fake/timeline.ts'

/**
 * One process. Promises that it waits for settle only while it lives; killing it leaves them pending. A process that is
 * stuck gets everything late, at once, in its order.
 */
export class SimProcess {
  readonly timeline: Timeline
  readonly name: string
  alive = true
  stuckUntilMs = 0
  /** When its machine was stopped; what falls due meanwhile waits. */
  #frozenMs: number | null = null
  readonly #waiting: { readonly leftMs: number; readonly run: () => void }[] = []
  readonly #onEnd: (() => void)[] = []

  constructor(timeline: Timeline, name: string) {
    this.timeline = timeline
    this.name = name
  }

  after(ms: number, run: () => void): TimelineEvent {
    return this.timeline.after(ms, () => this.#deliver(run))
  }

  /** Returns what `work` returns after `ms`; at once for 0. */
  call<T>(ms: number, work: () => T): Promise<T> {
    if (ms <= 0 && this.stuckUntilMs <= this.timeline.nowMs) return new Promise((resolve) => resolve(work()))
    return new Promise((resolve, reject) => {
      this.after(ms, () => {
        try {
          resolve(work())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }

  wait(ms: number): Promise<void> {
    return this.call(ms, () => undefined)
  }

  /** Ends the process as kill -9 does. */
  end(): void {
    if (!this.alive) return
    this.alive = false
    for (const run of this.#onEnd.splice(0)) run()
  }

  /** Calls `run` when the process ends. */
  whenEnded(run: () => void): void {
    this.#onEnd.push(run)
  }

  /** Blocks its event loop for so long. */
  stick(ms: number): void {
    this.stuckUntilMs = Math.max(this.stuckUntilMs, this.timeline.nowMs + ms)
  }

  /** The machine is stopped; once it runs again, everything waits for the time that it had left. */
  freeze(): void {
    this.#frozenMs ??= this.timeline.nowMs
  }

  thaw(): void {
    this.#frozenMs = null
    this.stuckUntilMs = Math.max(this.stuckUntilMs, this.timeline.nowMs)
    for (const { leftMs, run } of this.#waiting.splice(0)) this.after(leftMs, run)
  }

  #deliver(run: () => void): void {
    if (!this.alive) return
    if (this.#frozenMs !== null) {
      this.#waiting.push({ leftMs: this.timeline.nowMs - this.#frozenMs, run })
      return
    }
    const leftMs = this.stuckUntilMs - this.timeline.nowMs
    if (leftMs > 0) this.timeline.after(leftMs, () => this.#deliver(run))
    else run()
  }
}
