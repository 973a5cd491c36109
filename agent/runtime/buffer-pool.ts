/** Size of all reused buffers: that of the largest pieces of file content. */
const CHUNK_BYTES = 1024 * 1024
/** Smaller pieces are cheap to allocate, and would keep large buffers busy. */
const WORTH_BYTES = 128 * 1024
/** As much as one copy has in flight; what is given back beyond that is dropped. */
const KEPT_MAX = 24
/** Free buffers are dropped when none was given back for this long. A running copy gives them back all the time. */
const KEPT_MS = 10_000

/**
 * Buffers for file content in flight, reused instead of allocated anew.
 * At a gigabyte a second, fresh buffers cost a quarter of the time in page faults and garbage collection.
 * A buffer that is not given back is garbage collected.
 */
export class BufferPool {
  readonly #free: ArrayBuffer[] = []
  #end: NodeJS.Timeout | undefined
  /** Only buffers from this pool may be given back: others may be in use elsewhere. */
  readonly #lent = new WeakSet<ArrayBufferLike>()

  /** Returns a buffer with arbitrary content and its own ArrayBuffer, which may be larger. */
  take(bytes: number): Buffer {
    if (bytes < WORTH_BYTES || bytes > CHUNK_BYTES) return Buffer.allocUnsafeSlow(bytes)
    const memory = this.#free.pop() ?? new ArrayBuffer(CHUNK_BYTES)
    this.#lent.add(memory)
    return Buffer.from(memory, 0, bytes)
  }

  /** Takes back a buffer from `take`, or any part of it. The caller must not use it any more. Ignores other buffers. */
  give(buffer: Buffer): void {
    if (this.#lent.delete(buffer.buffer)) this.#keep(buffer.buffer as ArrayBuffer)
  }

  /** Adopts a buffer that came back from another thread, so that it can be given back. */
  lend({ buffer, byteOffset, length }: Uint8Array): Buffer {
    this.#lent.add(buffer)
    return Buffer.from(buffer as ArrayBuffer, byteOffset, length)
  }

  /** Takes in memory that came back from another thread and that no one else can have. */
  adopt(memory: ArrayBuffer): void {
    this.#keep(memory)
  }

  #keep(memory: ArrayBuffer): void {
    if (memory.byteLength !== CHUNK_BYTES || this.#free.length >= KEPT_MAX) return
    this.#free.push(memory)
    if (this.#end === undefined) this.#end = setTimeout(() => this.#dropFree(), KEPT_MS).unref()
    else this.#end.refresh()
  }

  #dropFree(): void {
    this.#end = undefined
    this.#free.length = 0
  }
}
