import { setTimeout } from 'node:timers/promises'

/** Bytes that may be sent at once after a pause: less than one data frame, so the limit shows within seconds. */
const BURST_MS = 50

/**
 * The rate at which this host may send, shared by all senders: a token bucket, first come first served.
 * Own code, because the rate limiters on npm do not keep the order, or cannot take more at once than the bucket
 * holds.
 */
export class RateLimit {
  readonly #bytesPerMs: number
  /** Time at which all bytes taken so far will have been sent at the allowed rate. */
  #freeAtMs = 0

  constructor(bytesPerSecond: number) {
    if (!(bytesPerSecond > 0)) throw new RangeError(`a bandwidth of ${bytesPerSecond} bytes per second`)
    this.#bytesPerMs = bytesPerSecond / 1_000
  }

  /** Waits until `bytes` may be sent. Rejects with the signal's reason; the bytes then count as sent. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const nowMs = performance.now()
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs - BURST_MS) + bytes / this.#bytesPerMs
    const waitMs = this.#freeAtMs - nowMs
    if (waitMs < 1) return
    await setTimeout(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}
