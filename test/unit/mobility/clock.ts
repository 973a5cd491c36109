import type { Clock } from '../../../agent/runtime/clock.ts'

interface Timer {
  readonly atMs: number
  readonly run: () => void
}

/** Turns of the event loop after which nothing in memory is still on its way. */
const TURNS = 20

/** Time that passes only when told to: hours of waiting in milliseconds, and the same order of events every time. */
export class VirtualClock implements Clock {
  #nowMs = 0
  #timers: Timer[] = []

  now(): Date {
    return new Date(1_750_000_000_000 + this.#nowMs)
  }

  elapsedMs(): number {
    return this.#nowMs
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const timer = this.#at(ms, resolve)
      signal.addEventListener('abort', () => {
        this.#timers = this.#timers.filter((other) => other !== timer)
        resolve()
      })
    })
  }

  deadline(ms: number): AbortSignal {
    const controller = new AbortController()
    this.#at(ms, () => controller.abort())
    return controller.signal
  }

  /** Lets `ms` pass, timer by timer. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms
    await settle()
    for (;;) {
      const next = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.run()
      await settle()
    }
    this.#nowMs = endMs
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

  #at(ms: number, run: () => void): Timer {
    const timer = { atMs: this.#nowMs + ms, run }
    this.#timers.push(timer)
    return timer
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise(setImmediate)
}
