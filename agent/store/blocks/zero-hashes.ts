import { createHash } from 'node:crypto'
import { blockBytesOf } from './block-size.ts'

/** Hashes of blocks that are all zeros; those of whole blocks (seven sizes at most) are kept. */
export class ZeroHashes {
  readonly #whole = new Map<number, Buffer>()

  /** Returns the hash of a whole block of zeros in a file of this size, and that of its last block. */
  of(sizeBytes: number): { readonly whole: Buffer; readonly last: Buffer } {
    const blockBytes = blockBytesOf(sizeBytes)
    const lastBytes = sizeBytes % blockBytes
    let whole = this.#whole.get(blockBytes)
    if (whole === undefined) {
      whole = hashOfZeros(blockBytes)
      this.#whole.set(blockBytes, whole)
    }
    return { whole, last: lastBytes === 0 ? whole : hashOfZeros(lastBytes) }
  }
}

function hashOfZeros(bytes: number): Buffer {
  return createHash('sha256').update(Buffer.alloc(bytes)).digest()
}
