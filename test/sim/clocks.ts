import type { Clock } from '../../agent/runtime/clock.ts'
import { deadlineAt, sleepFor } from '../fake/sleep.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { SimProcess } from './process.ts'

/** A day near which the wall clocks of all hosts start. */
const START = Date.UTC(2025, 5, 15)
/** How long a host takes from power to its first agent. */
const BOOT_MS = 10_000

/** The clocks of a host. Its CLOCK_BOOTTIME runs a little too fast or too slow; its wall clock can be set. */
export class HostClocks {
  readonly #timeline: Timeline
  /** Host's milliseconds per true millisecond. */
  readonly rate: number
  wallOffsetMs = 0
  #bootedMs = -BOOT_MS
  /** When its hypervisor stopped the machine and its clocks, and for how long they were stopped in all. */
  #stoppedMs: number | null = null
  #stoppedForMs = 0

  constructor(timeline: Timeline, rate: number) {
    this.#timeline = timeline
    this.rate = rate
  }

  boot(): void {
    this.resume()
    // A machine that boots reads the time from outside.
    this.#stoppedForMs = 0
    this.#bootedMs = this.#timeline.nowMs - BOOT_MS
  }

  stop(): void {
    this.#stoppedMs ??= this.#timeline.nowMs
  }

  resume(): void {
    if (this.#stoppedMs !== null) this.#stoppedForMs += this.#timeline.nowMs - this.#stoppedMs
    this.#stoppedMs = null
  }

  elapsedMs(): number {
    return (this.ranMs - this.#bootedMs) * this.rate
  }

  now(): Date {
    return new Date(START + this.ranMs * this.rate + this.wallOffsetMs)
  }

  /** True milliseconds in which the machine was not stopped, counted from some time before its boot. */
  get ranMs(): number {
    return (this.#stoppedMs ?? this.#timeline.nowMs) - this.#stoppedForMs
  }

  /** The true time at which its wall clock showed that, if nobody has set it since. */
  trueMs(shown: Date): number {
    return (shown.getTime() - START - this.wallOffsetMs) / this.rate
  }
}

/** The clock of one process of a host. */
export class ProcessClock implements Clock {
  readonly #clocks: HostClocks
  readonly #process: SimProcess

  constructor(clocks: HostClocks, process: SimProcess) {
    this.#clocks = clocks
    this.#process = process
  }

  now(): Date {
    return this.#clocks.now()
  }

  elapsedMs(): number {
    return this.#clocks.elapsedMs()
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return sleepFor((run) => this.#process.after(ms / this.#clocks.rate, run), signal)
  }

  deadline(ms: number): AbortSignal {
    return deadlineAt((run) => this.#process.after(ms / this.#clocks.rate, run))
  }
}
