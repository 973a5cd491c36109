import { bootTimeMs } from '../sys/boot-time.ts'

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => new Date(),
  elapsedMs: bootTimeMs,
  // Not that of node:timers/promises, whose error at each abort costs more than the timer.
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve()
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      signal.addEventListener('abort', end)
    }),
  deadline: (ms) => AbortSignal.timeout(Math.max(0, Math.ceil(ms))),
}

/** Time as mobility sees it, so that the same code runs under a virtual clock. */
export interface Clock {
  now(): Date
  /**
   * Milliseconds since the host was booted, including suspended time (CLOCK_BOOTTIME). Never goes back.
   * Every process of the host reads the same.
   */
  elapsedMs(): number
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** Aborts after `ms`. */
  deadline(ms: number): AbortSignal
}
