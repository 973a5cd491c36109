/** Size of all memory that is used again: that of the largest pieces in which file content travels. */
const CHUNK_BYTES = 1024 * 1024
/** Smaller pieces are cheap to make and would keep large memory busy. */
const WORTH_BYTES = 128 * 1024
/** As much as a copy has on its way at once; what is given back beyond that is let go. */
const KEPT_MAX = 24

/**
 * Memory for file content on its way, used again instead of made anew: with a gigabyte a second passing through, fresh buffers cost a quarter
 * of the time in page faults and garbage collection. What is not given back is simply collected.
 */
export class BufferPool {
  readonly #free: ArrayBuffer[] = []
  /** Only what was lent may be given back: other buffers may be in use elsewhere. */
  readonly #lent = new WeakSet<ArrayBufferLike>()

  /** A buffer with anything in it and an ArrayBuffer of its own (which may be larger). */
  take(bytes: number): Buffer {
    if (bytes < WORTH_BYTES || bytes > CHUNK_BYTES) return Buffer.allocUnsafeSlow(bytes)
    const memory = this.#free.pop() ?? new ArrayBuffer(CHUNK_BYTES)
    this.#lent.add(memory)
    return Buffer.from(memory, 0, bytes)
  }

  /** Takes back what `take` gave, or any part of it; nothing else reads or writes it any more. Ignores all other buffers. */
  give(buffer: Buffer): void {
    if (this.#lent.delete(buffer.buffer)) this.#keep(buffer.buffer as ArrayBuffer)
  }

  /** A buffer that came back from another thread, to be given back in its turn. */
  lend({ buffer, byteOffset, length }: Uint8Array): Buffer {
    this.#lent.add(buffer)
    return Buffer.from(buffer as ArrayBuffer, byteOffset, length)
  }

  /** Takes memory that came back from another thread, where nobody else can have it. */
  adopt(memory: ArrayBuffer): void {
    this.#keep(memory)
  }

  #keep(memory: ArrayBuffer): void {
    if (memory.byteLength === CHUNK_BYTES && this.#free.length < KEPT_MAX) this.#free.push(memory)
  }
}
