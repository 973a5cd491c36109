import { type FileHandle, open } from 'node:fs/promises'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { TaggedBlocks } from '../workers/contract.ts'

/** Where the hashes and tags of one file's blocks lie in a lists file. */
export interface BlocksPlace {
  readonly path: string
  readonly hashesAt: number
  readonly tagsAt: number
  readonly count: number
}

/**
 * Former hashes and tags of a file's blocks, read piece by piece: those of a terabyte take 96 MiB.
 * Nothing is checked here: a hash counts only if its tag proves it.
 */
export class KnownBlocks implements AsyncDisposable {
  readonly #file: FileHandle
  readonly #place: BlocksPlace

  private constructor(file: FileHandle, place: BlocksPlace) {
    this.#file = file
    this.#place = place
  }

  /** Null: the file cannot be opened. */
  static async open(place: BlocksPlace): Promise<KnownBlocks | null> {
    try {
      return new KnownBlocks(await open(place.path, 'r'), place)
    } catch {
      // Known blocks only save work.
      return null
    }
  }

  /** Reads blocks `first` to `first + count - 1`, fewer where there are fewer; null: none. */
  async range(first: number, count: number): Promise<TaggedBlocks | null> {
    const there = Math.min(count, this.#place.count - first)
    if (there <= 0) return null
    const hashes = await this.#read(this.#place.hashesAt + first * HASH_BYTES, there * HASH_BYTES)
    const tags = await this.#read(this.#place.tagsAt + first * TAG_BYTES, there * TAG_BYTES)
    return hashes === null || tags === null ? null : { hashes, tags }
  }

  async #read(offset: number, bytes: number): Promise<Buffer | null> {
    try {
      const part = Buffer.allocUnsafeSlow(bytes)
      const { bytesRead } = await this.#file.read(part, 0, bytes, offset)
      return bytesRead === bytes ? part : null
    } catch {
      // Known blocks only save work.
      return null
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file.close()
  }
}
