import { finished, Readable } from 'node:stream'

/** Items that may be ready and not yet taken: one data frame is on its way while the next is read. */
const READY_MAX = 2

/** A failure waits its turn as an item: a stream that fails drops what is still in its buffer. */
type Settled<T> = { readonly item: T } | { readonly error: unknown }

/** Produces a series a little ahead of its reader. Its end and its failure come in their turn. */
export class Prefetch<T> implements AsyncDisposable {
  readonly #stream: Readable

  /** Starts at once. */
  constructor(source: AsyncIterable<T>) {
    this.#stream = Readable.from(settle(source), { highWaterMark: READY_MAX })
    this.#stream.read(0)
  }

  /** May be used once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for await (const settled of this.#stream as AsyncIterable<Settled<T>>) {
      if ('error' in settled) throw settled.error
      yield settled.item
    }
  }

  /** Ends the source and waits until it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stream.closed) return
    const { promise, resolve } = Promise.withResolvers<void>()
    finished(this.#stream, () => resolve())
    this.#stream.destroy()
    await promise
  }
}

async function* settle<T>(source: AsyncIterable<T>): AsyncGenerator<Settled<T>> {
  try {
    for await (const item of source) yield { item }
  } catch (error) {
    yield { error }
  }
}
