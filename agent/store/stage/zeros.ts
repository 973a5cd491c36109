import { createHash } from 'node:crypto'
import { blockBytesOf, HASH_BYTES } from '../blocks.ts'

/** Hashes of blocks that are all zeros; those of whole blocks (seven sizes at most) are kept. */
export class ZeroHashes {
  readonly #whole = new Map<number, Buffer>()

  /** For a file of this size: the hash of a whole block of zeros, and that of its last block. */
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

/** Whether block `block` has the same hash in two lists. */
export function sameHash(a: Buffer, b: Buffer, block: number): boolean {
  const at = block * HASH_BYTES
  return at + HASH_BYTES <= a.length && a.compare(b, at, at + HASH_BYTES, at, at + HASH_BYTES) === 0
}

/** Whether entry `block` of a list is this one hash. */
export function isHash(list: Buffer, block: number, hash: Buffer): boolean {
  const at = block * HASH_BYTES
  return list.compare(hash, 0, HASH_BYTES, at, at + HASH_BYTES) === 0
}
