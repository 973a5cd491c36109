import { createCipheriv, createHash } from 'node:crypto'

/** Bytes that look random, do not compress, and are the same for the same seed. */
export class Noise {
  readonly #cipher: ReturnType<typeof createCipheriv>

  constructor(seed: string) {
    const key = createHash('sha256').update(seed).digest().subarray(0, 16)
    this.#cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  }

  bytes(count: number): Buffer {
    return this.#cipher.update(Buffer.alloc(count))
  }

  /** An integer from 0 to `limit` - 1; `limit` is far below 2^32, so the remainder is even enough. */
  below(limit: number): number {
    return this.bytes(4).readUInt32LE() % limit
  }
}
