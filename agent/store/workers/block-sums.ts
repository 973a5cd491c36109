import { HASH_BYTES } from '../blocks/block-size.ts'
import { TAG_BYTES, tagOf } from './block-tag.ts'
import { type Memory, sha256 } from './memory.ts'

/** Known hashes and tags of blocks, from the first block on; there may be fewer than are hashed. */
export interface KnownSums {
  readonly hashes: Uint8Array
  readonly tags: Uint8Array
}

export interface Tagging {
  readonly key: Uint8Array
  readonly known: KnownSums | null
}

const NO_TAGS = { hashes: new Uint8Array(0), tags: new Uint8Array(0) }

/**
 * Collects hashes of blocks, one after the other, and with `tagging` their tags.
 * A hash that a tag proves is not computed again.
 */
export class BlockSums {
  readonly hashes: Buffer
  /** A hole has zeros, which no content's tag is but by chance. Empty without `tagging`. */
  readonly tags: Uint8Array
  /** How many blocks went through SHA-256. */
  hashedBlocks = 0
  readonly #memory: Memory
  readonly #key: Uint8Array | null
  readonly #known: KnownSums
  #next = 0

  constructor(memory: Memory, count: number, tagging: Tagging | null) {
    this.hashes = Buffer.allocUnsafeSlow(count * HASH_BYTES)
    this.tags = new Uint8Array(tagging === null ? 0 : count * TAG_BYTES)
    this.#memory = memory
    this.#key = tagging?.key ?? null
    this.#known = tagging?.known ?? NO_TAGS
  }

  addHole(lengthBytes: number): void {
    this.#memory.zeroHash(lengthBytes).copy(this.hashes, this.#next++ * HASH_BYTES)
  }

  add(content: Uint8Array): void {
    const nth = this.#next++
    if (this.#key === null) this.hashes.set(this.#hash(content), nth * HASH_BYTES)
    else this.#addTagged(nth, content, this.#key)
  }

  #addTagged(nth: number, content: Uint8Array, key: Uint8Array): void {
    const tag = rowOf(this.#known.tags, nth, TAG_BYTES)
    let hash = rowOf(this.#known.hashes, nth, HASH_BYTES)
    let found = hash.length < HASH_BYTES ? null : tagOf(key, content, hash)
    if (found?.equals(tag) !== true) {
      hash = this.#hash(content)
      found = tagOf(key, content, hash)
    }
    this.hashes.set(hash, nth * HASH_BYTES)
    this.tags.set(found, nth * TAG_BYTES)
  }

  #hash(content: Uint8Array): Buffer {
    this.hashedBlocks++
    return sha256(content)
  }
}

function rowOf(rows: Uint8Array, nth: number, bytes: number): Uint8Array {
  return rows.subarray(nth * bytes, (nth + 1) * bytes)
}
