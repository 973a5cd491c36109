import { createHash, type Hash } from 'node:crypto'
import { read } from 'node:fs'
import { promisify } from 'node:util'
import { nextData, nextHole } from '../sys/files.ts'

const readAsync = promisify(read)

/** One turn of the event loop hashes at most this much (under 1 ms); larger reads were not faster. */
export const CHUNK_BYTES = 512 * 1024

/**
 * Up to this size a file is read and written with synchronous calls: they take about 20 µs, a trip through the thread
 * pool per call takes several times that.
 */
export const SMALL_FILE_BYTES = 128 * 1024

const ZEROS = Buffer.alloc(CHUNK_BYTES)

export interface Chunk {
  readonly offset: number
  readonly data: Buffer
}

/**
 * The data of an open file from `from` up to `sizeBytes`, in order, holes left out. The next chunk is read while the
 * last is used. With `buffers` a chunk is only good until the next is asked for; without, it is the consumer's to keep.
 */
export async function* dataChunks(
  fd: number,
  from: number,
  sizeBytes: number,
  buffers?: readonly [Buffer, Buffer],
): AsyncGenerator<Chunk> {
  let turn = 0
  const readNext = (offset: number, end: number): Promise<Chunk> => {
    turn = 1 - turn
    const lengthBytes = Math.min(CHUNK_BYTES, end - offset)
    return readChunk(fd, offset, buffers?.[turn]?.subarray(0, lengthBytes) ?? Buffer.allocUnsafeSlow(lengthBytes))
  }
  let start = nextDataBelow(fd, from, sizeBytes)
  while (start !== null) {
    const end = Math.min(nextHole(fd, start), sizeBytes)
    let pending = readNext(start, end)
    try {
      while (start < end) {
        const chunk: Chunk = await pending
        // The file became shorter: what is missing is for the caller to notice.
        if (chunk.data.length === 0) return
        start += chunk.data.length
        if (start < end) pending = readNext(start, end)
        yield chunk
      }
    } finally {
      // The consumer may stop early, and close the file: not while a read is on its way into a descriptor's number.
      await pending.catch(() => {})
    }
    start = nextDataBelow(fd, end, sizeBytes)
  }
}

async function readChunk(fd: number, offset: number, buffer: Buffer): Promise<Chunk> {
  const { bytesRead } = await readAsync(fd, buffer, 0, buffer.length, offset)
  return { offset, data: buffer.subarray(0, bytesRead) }
}

function nextDataBelow(fd: number, offset: number, sizeBytes: number): number | null {
  if (offset >= sizeBytes) return null
  const next = nextData(fd, offset)
  return next === null || next >= sizeBytes ? null : next
}

/** SHA-256 over a file's logical bytes: what is skipped counts as zeros. Data must come in order. */
export class ContentHash {
  readonly #hash: Hash = createHash('sha256')
  readonly #signal: AbortSignal
  #position = 0

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  get position(): number {
    return this.#position
  }

  update(data: Buffer): void {
    this.#hash.update(data)
    this.#position += data.length
  }

  /** Hashes zeros up to `offset`. */
  async skipTo(offset: number): Promise<void> {
    while (this.#position < offset) {
      this.#signal.throwIfAborted()
      this.update(ZEROS.subarray(0, Math.min(ZEROS.length, offset - this.#position)))
      // Real zeros are hashed at about 2 GB/s; a terabyte of hole must not hold the loop.
      await new Promise(setImmediate)
    }
  }

  /** Hashes what the open file has between the position and `sizeBytes`. */
  async read(fd: number, sizeBytes: number): Promise<void> {
    const buffers = [Buffer.allocUnsafeSlow(CHUNK_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES)] as const
    for await (const { offset, data } of dataChunks(fd, this.#position, sizeBytes, buffers)) {
      this.#signal.throwIfAborted()
      await this.skipTo(offset)
      this.update(data)
    }
    await this.skipTo(sizeBytes)
  }

  digest(): string {
    return this.#hash.digest('hex')
  }
}

export function hashOf(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex')
}

export const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
