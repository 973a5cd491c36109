import { Bitmap } from '../blocks/bitmap.ts'
import { blockBytesOf, blockCountOf, runsOf } from '../blocks/block-size.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { BlockRun } from '../tree-contract.ts'

/** What is staged of one large file: one or two bits for each block. */
export class StagedFile {
  readonly index: number
  readonly sizeBytes: number
  readonly blockBytes: number
  readonly count: number
  /** The file's hash; the bits refer to the list of this hash. */
  readonly hash: Buffer
  /** Blocks that are staged correctly. */
  readonly staged: Bitmap
  /** Blocks that this host's own version of the file has already; null when the file is staged whole. */
  readonly own: Bitmap | null
  /** The staged file may have data where a block is missing: what is to be a hole must be punched. */
  dirty = false

  constructor(target: Manifest, index: number, own: Bitmap | null) {
    const { sizeBytes, hash } = target.file(index)
    this.index = index
    this.sizeBytes = sizeBytes
    this.blockBytes = blockBytesOf(sizeBytes)
    this.count = blockCountOf(sizeBytes)
    // A copy: the manifest's memory must not stay alive with this.
    this.hash = Buffer.from(hash)
    this.staged = new Bitmap(this.count)
    this.own = own
  }

  good(block: number): boolean {
    return this.staged.has(block) || this.own?.has(block) === true
  }

  complete(): boolean {
    if (this.staged.count === this.count) return true
    if (this.own === null) return false
    for (let block = 0; block < this.count; block++) if (!this.good(block)) return false
    return true
  }

  bytesOf(block: number): number {
    return Math.min(this.blockBytes, this.sizeBytes - block * this.blockBytes)
  }

  /**
   * Returns runs of missing blocks, each of at most `maxBlocks`.
   * Bits may change meanwhile: they count as they are when a run is found.
   */
  *missing(maxBlocks = Number.POSITIVE_INFINITY): Generator<BlockRun> {
    yield* runsOf(this.index, this.count, maxBlocks, (block) => !this.good(block))
  }
}
