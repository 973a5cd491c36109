import { ProtocolViolation } from './frame.ts'
import type { AskedWant } from './want.ts'

/**
 * Wants an asker may have told and not yet got: a round trip's worth of small answers on a long line, and a bound on what
 * an asker can make a source remember (2 KiB each).
 */
export const WANTS_OUTSTANDING_MAX = 1_024

/** The wants an asker has told and not yet got, in order. */
export class WantedQueue {
  readonly #ended: AbortSignal
  readonly #wants: AskedWant[] = []
  #outstanding = 0
  #complete = false
  #wake: PromiseWithResolvers<void> | undefined

  constructor(ended: AbortSignal) {
    this.#ended = ended
    ended.addEventListener('abort', () => this.#wake?.resolve(), { once: true })
  }

  /** Throws ProtocolViolation for more than may be outstanding, or after the end. */
  add(wants: readonly AskedWant[]): void {
    if (this.#complete) throw new ProtocolViolation('wants after the end of wants')
    this.#outstanding += wants.length
    if (this.#outstanding > WANTS_OUTSTANDING_MAX)
      throw new ProtocolViolation(`more than ${WANTS_OUTSTANDING_MAX} wants at once`)
    this.#wants.push(...wants)
    this.#wake?.resolve()
  }

  complete(): void {
    if (this.#complete) throw new ProtocolViolation('a second end of wants')
    this.#complete = true
    this.#wake?.resolve()
  }

  /** One was answered. */
  answered(): void {
    this.#outstanding -= 1
  }

  /** The next want if one was told, without waiting. */
  take(): AskedWant | undefined {
    return this.#wants.shift()
  }

  /** Waits until there is a want to take (true) or will be none any more (false). Rejects when the connection ended. */
  async wait(): Promise<boolean> {
    while (this.#wants.length === 0) {
      this.#ended.throwIfAborted()
      if (this.#complete) return false
      this.#wake = Promise.withResolvers()
      await this.#wake.promise
    }
    return true
  }
}
