import { HASH_BYTES } from '../blocks/block-size.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'

const PLACE_BYTES = 8

/** Behind each list lie the tags of the same blocks (workers/block-tag.ts). An unknown tag is zeros. */
export function tagBytesOf(listBytes: number): number {
  return (listBytes / HASH_BYTES) * TAG_BYTES
}

/** Offsets of the lists of a manifest's large files in a lists file, each list with its tags. */
export class ListOffsets {
  /** Indexes of the large files, ascending, and the offsets of their lists. */
  readonly #indexes: number[] = []
  readonly #offsets: number[] = []
  /** Bytes of all lists with their tags. The rest of the file was an earlier tree's. */
  bytes = 0

  /** Adds the next large file, in the order of the manifest. */
  add(index: number, offset: number, listBytes: number): void {
    this.#indexes.push(index)
    this.#offsets.push(offset)
    this.bytes += listBytes + tagBytesOf(listBytes)
  }

  /** Undefined: not a large file. */
  of(index: number): number | undefined {
    const position = this.#position(index)
    return this.#indexes[position] === index ? this.#offsets[position] : undefined
  }

  /** Returns the large files below an index. */
  before(index: number): readonly number[] {
    return this.#indexes.slice(0, this.#position(index))
  }

  /** Returns the position of the first large file at or after `index`. */
  #position(index: number): number {
    let [low, high] = [0, this.#indexes.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#indexes[middle] ?? 0) < index) low = middle + 1
      else high = middle
    }
    return low
  }

  /**
   * Encodes the offsets for the disk: 8 bytes for each large file.
   * A wrong offset leads to another file's list, which fails its check.
   */
  encoded(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#offsets.length * PLACE_BYTES)
    for (const [nth, offset] of this.#offsets.entries()) bytes.writeDoubleLE(offset, nth * PLACE_BYTES)
    return bytes
  }

  /**
   * Decodes the offsets of a manifest; `bytes` null: the lists lie one after the other.
   * Bytes of another manifest lead to lists that fail their checks.
   */
  static of(manifest: Manifest, bytes: Buffer | null): ListOffsets {
    const places = new ListOffsets()
    let nth = 0
    for (let index = 0; index < manifest.count; index++) {
      const listBytes = manifest.listBytes(index)
      if (listBytes === 0) continue
      places.add(index, bytes === null ? places.bytes : placeIn(bytes, nth), listBytes)
      nth++
    }
    return places
  }
}

function placeIn(bytes: Buffer, nth: number): number {
  const at = nth * PLACE_BYTES
  const offset = at + PLACE_BYTES <= bytes.length ? bytes.readDoubleLE(at) : 0
  return Number.isSafeInteger(offset) && offset >= 0 ? offset : 0
}
