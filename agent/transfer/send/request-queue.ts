import { ProtocolViolation } from '../wire/frame.ts'
import type { SentRequest } from '../wire/request-codec.ts'

/**
 * Requests that an asking host may have sent and not yet got: small ones for a round trip on a long line.
 * It also bounds what an asking host makes this source remember (2 KiB each).
 */
export const PENDING_REQUESTS_MAX = 1_024

/** Runs of blocks that lie apart: their responses are small. */
const SHORT_RUN_BLOCKS = 4
/** Enough to fill one frame. A few such responses are prepared side by side. */
const TOGETHER_MAX = 64

/** The requests that an asking host has sent and not yet got, in order. */
export class RequestQueue {
  readonly #ended: AbortSignal
  readonly #requests: SentRequest[] = []
  #outstanding = 0
  #complete = false
  #wake: PromiseWithResolvers<void> | undefined

  constructor(ended: AbortSignal) {
    this.#ended = ended
    ended.addEventListener('abort', () => this.#wake?.resolve(), { once: true })
  }

  /** Adds requests. Throws ProtocolViolation for more than may be outstanding, or after the end. */
  add(requests: readonly SentRequest[]): void {
    if (this.#complete) throw new ProtocolViolation('wants after the end of wants')
    this.#outstanding += requests.length
    if (this.#outstanding > PENDING_REQUESTS_MAX)
      throw new ProtocolViolation(`more than ${PENDING_REQUESTS_MAX} requests at once`)
    this.#requests.push(...requests)
    this.#wake?.resolve()
  }

  complete(): void {
    if (this.#complete) throw new ProtocolViolation('a second end of wants')
    this.#complete = true
    this.#wake?.resolve()
  }

  /** Removes requests that have their response. */
  answered(count: number): void {
    this.#outstanding -= count
  }

  /**
   * Takes the next requests that share one response, without waiting.
   * That is one, or several short runs of blocks; empty: none has come.
   */
  take(): SentRequest[] {
    const isShort = (request: SentRequest | undefined) =>
      request?.kind === 'blocks' && request.run.count <= SHORT_RUN_BLOCKS
    let count = Math.min(this.#requests.length, 1)
    if (isShort(this.#requests[0])) while (count < TOGETHER_MAX && isShort(this.#requests[count])) count++
    return this.#requests.splice(0, count)
  }

  /** Waits until a request can be taken (true) or there will be none (false). Rejects when the connection ends. */
  async wait(): Promise<boolean> {
    while (this.#requests.length === 0) {
      this.#ended.throwIfAborted()
      if (this.#complete) return false
      this.#wake = Promise.withResolvers()
      await this.#wake.promise
    }
    return true
  }
}
