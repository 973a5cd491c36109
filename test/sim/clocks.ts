import type { Clock } from '../../agent/runtime/clock.ts'
import { deadlineAt, sleepFor } from '../fake/sleep.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Life } from './process.ts'

/** Some day; the wall clocks of all hosts start near it. */
const START = Date.UTC(2025, 5, 15)
/** How long a host takes from power to its first agent. */
const BOOT_MS = 10_000

/** A host's clocks: its CLOCK_BOOTTIME runs a little too fast or too slow, its wall clock shows what somebody set. */
export class HostClocks {
  readonly #timeline: Timeline
  /** Host's milliseconds per true millisecond. */
  readonly rate: number
  wallOffsetMs = 0
  #bootedMs = -BOOT_MS
  /** Its hypervisor has stopped the machine, and all its clocks; and how long they have stood still since the start. */
  #stoppedMs: number | null = null
  #stoodStillMs = 0

  constructor(timeline: Timeline, rate: number) {
    this.#timeline = timeline
    this.rate = rate
  }

  boot(): void {
    this.goOn()
    // A machine that starts reads the time from outside.
    this.#stoodStillMs = 0
    this.#bootedMs = this.#timeline.nowMs - BOOT_MS
  }

  stop(): void {
    this.#stoppedMs ??= this.#timeline.nowMs
  }

  goOn(): void {
    if (this.#stoppedMs !== null) this.#stoodStillMs += this.#timeline.nowMs - this.#stoppedMs
    this.#stoppedMs = null
  }

  elapsedMs(): number {
    return (this.ranMs - this.#bootedMs) * this.rate
  }

  now(): Date {
    return new Date(START + this.ranMs * this.rate + this.wallOffsetMs)
  }

  /** True milliseconds in which the machine did not stand still, counted from some time before its boot. */
  get ranMs(): number {
    return (this.#stoppedMs ?? this.#timeline.nowMs) - this.#stoodStillMs
  }

  /** When its wall clock showed that, if nobody has set it since. */
  trueMs(shown: Date): number {
    return (shown.getTime() - START - this.wallOffsetMs) / this.rate
  }
}

/** The clock as one process of a host sees it. */
export class ProcessClock implements Clock {
  readonly #clocks: HostClocks
  readonly #life: Life

  constructor(clocks: HostClocks, life: Life) {
    this.#clocks = clocks
    this.#life = life
  }

  now(): Date {
    return this.#clocks.now()
  }

  elapsedMs(): number {
    return this.#clocks.elapsedMs()
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return sleepFor((run) => this.#life.after(ms / this.#clocks.rate, run), signal)
  }

  deadline(ms: number): AbortSignal {
    return deadlineAt((run) => this.#life.after(ms / this.#clocks.rate, run))
  }
}
