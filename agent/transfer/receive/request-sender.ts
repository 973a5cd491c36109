import type { TreeWriter, Want } from '../../store/tree-contract.ts'
import type { Channel } from '../connection/channel.ts'
import { WANTS_OUTSTANDING_MAX } from '../send/request-queue.ts'
import { encodeWants } from '../wire/request-codec.ts'

/** Bytes asked for and not yet here: keeps a line of 1 GB/s busy over 16 ms of round trip. */
const WINDOW_BYTES = 16 * 1024 * 1024

/** Tells the source what the writer wants, a bounded way ahead of what has come. */
export class RequestSender {
  readonly #channel: Channel
  readonly #writer: TreeWriter
  /** Told or about to be, and not yet answered. */
  readonly #outstanding: Want[] = []
  #outstandingBytes = 0
  /** Not yet told: wants that come together go in one frame. */
  #batch: Want[] = []
  #ended = false
  #stopped = false
  #changed: PromiseWithResolvers<void> = Promise.withResolvers()

  constructor(channel: Channel, writer: TreeWriter) {
    this.#channel = channel
    this.#writer = writer
  }

  /** Asks until the writer wants nothing more, or `stop`. Rejects with the writer's error or what ended the connection. */
  async run(): Promise<void> {
    while (!this.#stopped) {
      const want = await this.#writer.next()
      if (want === null) break
      while (!this.#stopped && !this.#fits(want)) await this.#changed.promise
      this.#outstanding.push(want)
      this.#outstandingBytes += want.bytes
      if (this.#batch.push(want) === 1) setImmediate(() => void this.#flush())
      this.#change()
    }
    await this.#flush()
    if (!this.#stopped) await this.#channel.send('wantsEnd')
    this.#ended = true
    this.#change()
  }

  /** The oldest want that is not yet answered; waits for one. Undefined: there will be none. */
  async oldest(): Promise<Want | undefined> {
    while (this.#outstanding.length === 0 && !this.#ended && !this.#stopped) await this.#changed.promise
    return this.#outstanding[0]
  }

  /** The oldest want was answered. */
  answered(): void {
    this.#outstandingBytes -= this.#outstanding.shift()?.bytes ?? 0
    this.#change()
  }

  /** Whoever waits here stops waiting. */
  stop(): void {
    this.#stopped = true
    this.#change()
  }

  /** An answer that is larger than the window by itself is asked for alone. */
  #fits(want: Want): boolean {
    if (this.#outstanding.length === 0) return true
    if (this.#outstanding.length >= WANTS_OUTSTANDING_MAX) return false
    return this.#outstandingBytes + want.bytes <= WINDOW_BYTES
  }

  async #flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    try {
      // All at once, so that no later batch gets between: a channel writes in the order of the calls.
      await Promise.all(encodeWants(batch).map((body) => this.#channel.send('wants', body)))
    } catch (error) {
      // Whoever waits for the answers meets it there.
      this.#channel.fail(error)
    }
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }
}
