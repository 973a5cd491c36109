import type { BlockRequest, TreeWriter } from '../../store/tree-contract.ts'
import type { Channel } from '../connection/channel.ts'
import { PENDING_REQUESTS_MAX } from '../send/request-queue.ts'
import { encodeRequests } from '../wire/request-codec.ts'

/** Bytes requested and not yet received: they keep a line of 1 GB/s busy over 16 ms of round trip. */
const WINDOW_BYTES = 16 * 1024 * 1024

/** Sends the writer's block requests to the source, a bounded way ahead of the responses. */
export class RequestSender {
  readonly #channel: Channel
  readonly #writer: TreeWriter
  /** Sent, or about to be sent, and not yet answered. */
  readonly #outstanding: BlockRequest[] = []
  #outstandingBytes = 0
  /** Not yet sent: requests that come together share one frame. */
  #batch: BlockRequest[] = []
  #ended = false
  #stopped = false
  #changed: PromiseWithResolvers<void> = Promise.withResolvers()

  constructor(channel: Channel, writer: TreeWriter) {
    this.#channel = channel
    this.#writer = writer
  }

  /**
   * Sends requests until the writer has no more, or until `stop`.
   * Rejects with the writer's error, or with the reason why the connection ended.
   */
  async run(): Promise<void> {
    while (!this.#stopped) {
      const request = await this.#writer.next()
      if (request === null) break
      while (!this.#stopped && !this.#fits(request)) await this.#changed.promise
      this.#outstanding.push(request)
      this.#outstandingBytes += request.bytes
      if (this.#batch.push(request) === 1) setImmediate(() => void this.#flush())
      this.#change()
    }
    await this.#flush()
    if (!this.#stopped) await this.#channel.send('blockRequestsEnd')
    this.#ended = true
    this.#change()
  }

  /** Waits for the oldest request without a response; undefined: there will be none. */
  async oldest(): Promise<BlockRequest | undefined> {
    while (this.#outstanding.length === 0 && !this.#ended && !this.#stopped) await this.#changed.promise
    return this.#outstanding[0]
  }

  /** The oldest request has its response. */
  answered(): void {
    this.#outstandingBytes -= this.#outstanding.shift()?.bytes ?? 0
    this.#change()
  }

  /** Ends every wait in here. */
  stop(): void {
    this.#stopped = true
    this.#change()
  }

  /** A response larger than the window is requested alone. */
  #fits(request: BlockRequest): boolean {
    if (this.#outstanding.length === 0) return true
    if (this.#outstanding.length >= PENDING_REQUESTS_MAX) return false
    return this.#outstandingBytes + request.bytes <= WINDOW_BYTES
  }

  async #flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    try {
      // All at once, so that no later batch gets between them: a channel writes in the order of its calls.
      await Promise.all(encodeRequests(batch).map((body) => this.#channel.send('blockRequests', body)))
    } catch (error) {
      // The reader of the responses meets the same error.
      this.#channel.fail(error)
    }
  }

  #change(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }
}
