import { hash } from 'node:crypto'
import { directBuffer } from '../../sys/direct.ts'

/**
 * Lengths whose hash of zeros is kept: the block sizes, and last blocks of files that are all hole.
 * There may be any number of those, so the list starts over when it is full.
 */
const ZERO_HASHES_MAX = 64

/** A piece that came over the network is not larger. */
const DIRECT_WRITE_BYTES = 1024 * 1024

/** Returns the SHA-256, 32 bytes. */
export function sha256(data: Uint8Array): Buffer {
  return hash('sha256', data, 'buffer')
}

/** Memory that a thread reuses. A task ends before the next begins, so one buffer is enough. */
export class Memory {
  #buffer = Buffer.alloc(0)
  #direct: Buffer | undefined
  readonly #zeroHashes = new Map<number, Buffer>()

  /**
   * Returns a buffer of at least that many bytes with anything in it; at most one block is needed.
   * Valid until the end of the task or the next `zeroHash`.
   */
  buffer(sizeBytes: number): Buffer {
    if (this.#buffer.length < sizeBytes) this.#buffer = Buffer.allocUnsafeSlow(sizeBytes)
    return this.#buffer
  }

  /** A buffer for direct writes, with anything in it. */
  get direct(): Buffer {
    this.#direct ??= directBuffer(DIRECT_WRITE_BYTES)
    return this.#direct
  }

  /** Returns the SHA-256 of that many zeros. */
  zeroHash(lengthBytes: number): Buffer {
    const known = this.#zeroHashes.get(lengthBytes)
    if (known !== undefined) return known
    if (this.#zeroHashes.size >= ZERO_HASHES_MAX) this.#zeroHashes.clear()
    const found = sha256(this.buffer(lengthBytes).fill(0, 0, lengthBytes).subarray(0, lengthBytes))
    this.#zeroHashes.set(lengthBytes, found)
    return found
  }
}
