/** Items of a series that may be ready and not yet taken: two data frames, one on its way while the next is read. */
const READY_MAX = 2

/** A series that is produced before it is asked for, a little way. Its end and its failure come in their turn. */
export class Prefetch<T> implements AsyncDisposable {
  readonly #ready: T[] = []
  readonly #stopped = new AbortController()
  readonly #run: Promise<void>
  #ended = false
  #failure: { readonly error: unknown } | undefined
  #wake: (() => void) | undefined

  /** Starts at once. */
  constructor(source: AsyncIterable<T>) {
    this.#run = this.#produce(source)
  }

  /** May be used once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (true) {
      const item = this.#ready.shift()
      if (item !== undefined) {
        this.#wake?.()
        yield item
      } else if (this.#failure !== undefined) {
        throw this.#failure.error
      } else if (this.#ended) {
        return
      } else {
        await this.#change()
      }
    }
  }

  /** Ends the source and waits for what it is at. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort()
    this.#wake?.()
    await this.#run
  }

  async #produce(source: AsyncIterable<T>): Promise<void> {
    try {
      for await (const item of source) {
        if (this.#stopped.signal.aborted) return
        this.#ready.push(item)
        this.#wake?.()
        while (this.#ready.length >= READY_MAX && !this.#stopped.signal.aborted) await this.#change()
      }
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#ended = true
      this.#wake?.()
    }
  }

  /** Producer and taker never wait both: one waits for the full, the other for the empty. */
  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    return promise
  }
}
