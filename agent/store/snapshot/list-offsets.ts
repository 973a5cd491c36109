import { HASH_BYTES } from '../blocks/block-size.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'

const PLACE_BYTES = 8

/** Behind each list lie the tags of the same blocks (pool/tag.ts). One that is not known is zeros. */
export function tagBytesOf(listBytes: number): number {
  return (listBytes / HASH_BYTES) * TAG_BYTES
}

/** Where the list of each large file of a manifest begins in a file that has them, each with its tags. */
export class Places {
  /** Indexes of the large files, ascending, and where their lists begin. */
  readonly #indexes: number[] = []
  readonly #offsets: number[] = []
  /** Of all lists with their tags. What else the file has was some earlier tree's. */
  bytes = 0

  /** For the next large file, in the order of the manifest. */
  add(index: number, offset: number, listBytes: number): void {
    this.#indexes.push(index)
    this.#offsets.push(offset)
    this.bytes += listBytes + tagBytesOf(listBytes)
  }

  /** undefined: not a large file. */
  of(index: number): number | undefined {
    const position = this.#position(index)
    return this.#indexes[position] === index ? this.#offsets[position] : undefined
  }

  /** The large files below an index. */
  before(index: number): readonly number[] {
    return this.#indexes.slice(0, this.#position(index))
  }

  /** Position of the first large file at or after `index`. */
  #position(index: number): number {
    let [low, high] = [0, this.#indexes.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#indexes[middle] ?? 0) < index) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The form on disk: 8 bytes for each large file. A place that is wrong has another list than the file's, which is not believed. */
  encoded(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#offsets.length * PLACE_BYTES)
    for (const [nth, offset] of this.#offsets.entries()) bytes.writeDoubleLE(offset, nth * PLACE_BYTES)
    return bytes
  }

  /** Of a manifest whose lists lie where `bytes` says; null: one after the other. Other bytes than this manifest's lead nowhere. */
  static of(manifest: Manifest, bytes: Buffer | null): Places {
    const places = new Places()
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
