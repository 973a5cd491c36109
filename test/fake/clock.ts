import type { Clock } from '../../agent/runtime/clock.ts'
import { deadlineAt, sleepFor } from './sleep.ts'
import { Timeline } from './timeline.ts'

/** Turns of the event loop after which nothing in memory is still on its way. */
const TURNS = 20

/** The clock of unit tests: time passes only when told to, event by event, in the same order every time. */
export class VirtualClock implements Clock {
  readonly #timeline = new Timeline()

  now(): Date {
    return new Date(1_750_000_000_000 + this.#timeline.nowMs)
  }

  elapsedMs(): number {
    return this.#timeline.nowMs
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return sleepFor((run) => this.#timeline.after(ms, run), signal)
  }

  deadline(ms: number): AbortSignal {
    return deadlineAt((run) => this.#timeline.after(ms, run))
  }

  /** Lets `ms` pass, event by event. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#timeline.nowMs + ms
    await settle()
    while (this.#timeline.runNext(endMs)) await settle()
  }

  /** Lets time pass in small steps until `promise` has settled; rejects as it does, or after an hour. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const done = () => {
      settled = true
    }
    promise.then(done, done)
    for (let step = 0; !settled && step < 36_000; step++) await this.advance(100)
    if (!settled) throw new Error('not settled within an hour of virtual time')
    return promise
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise(setImmediate)
}
