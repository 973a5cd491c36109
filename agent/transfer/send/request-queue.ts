import { ProtocolViolation } from '../wire/frame.ts'
import type { AskedWant } from '../wire/request-codec.ts'

/**
 * Wants an asker may have told and not yet got: a round trip's worth of small answers on a long line, and a bound on what
 * an asker can make a source remember (2 KiB each).
 */
export const WANTS_OUTSTANDING_MAX = 1_024

/** Blocks that lie apart: their answers are small. */
const SHORT_RUN_BLOCKS = 4
/** As many as fill one frame, and some: a few such answers are made ready side by side. */
const TOGETHER_MAX = 64

/** The wants an asker has told and not yet got, in order. */
export class RequestQueue {
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

  /** So many were answered. */
  answered(count: number): void {
    this.#outstanding -= count
  }

  /** The next wants that are to be answered together, without waiting: one, or several short runs of blocks. Empty: none was told. */
  take(): AskedWant[] {
    const isShort = (want: AskedWant | undefined) => want?.kind === 'blocks' && want.run.count <= SHORT_RUN_BLOCKS
    let count = Math.min(this.#wants.length, 1)
    if (isShort(this.#wants[0])) while (count < TOGETHER_MAX && isShort(this.#wants[count])) count++
    return this.#wants.splice(0, count)
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
