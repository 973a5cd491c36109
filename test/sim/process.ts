import type { Timeline, TimelineEvent } from '../fake/timeline.ts'

/**
 * One process. What it waits for reaches it only while it lives: to kill it is to let none of its promises settle any more. A process that is stuck
 * gets everything late, all at once, in the order in which it would have come.
 */
export class Life {
  readonly timeline: Timeline
  readonly name: string
  alive = true
  stuckUntilMs = 0
  /** Its machine was stopped at that time; what would have come meanwhile waits. */
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

  /** What `work` answers after `ms`; at once for 0. */
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

  /** The event loop stands still for so long. */
  stick(ms: number): void {
    this.stuckUntilMs = Math.max(this.stuckUntilMs, this.timeline.nowMs + ms)
  }

  /** The machine stands still; then everything goes on with the time that it had left. */
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
