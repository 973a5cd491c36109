import { blockBytesOf, blockCountOf, HASH_BYTES, isHash, sameHash } from '../blocks/block-size.ts'
import { ZeroHashes } from '../blocks/zero-hashes.ts'
import { ContentIndex } from '../manifest/content-index.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { type Plan, planChanges } from '../manifest/plan.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import { seenAtSize } from '../stage/local-blocks.ts'

/** Blocks of a large file that a copy lacks. */
export interface LargeNeed {
  readonly index: number
  /** The block hashes of the whole file. */
  readonly list: Buffer
  readonly blocks: readonly number[]
}

/** What a copy at the checkpoint before needs to become a tree, by the tree's indexes. */
export interface Needs {
  readonly small: readonly number[]
  readonly large: readonly LargeNeed[]
}

/** Finds what a copy at `base` will request to become another tree, by the receiver's own plan (stage/). */
export class MissingContentFinder {
  readonly #base: SavedTree | null
  readonly #zeros = new ZeroHashes()
  readonly #sources: ContentIndex | null

  /** `base` null: copies have nothing yet. */
  constructor(base: SavedTree | null) {
    this.#base = base
    this.#sources = base === null ? null : new ContentIndex(base.manifest, true)
  }

  async find(tree: SavedTree): Promise<Needs> {
    const { manifest } = tree
    const small: number[] = []
    const large: LargeNeed[] = []
    if (manifest.hash === this.#base?.manifest.hash) return { small, large }
    const plan = this.#base === null ? null : planChanges(manifest, this.#base.manifest)
    for (const index of changedFiles(manifest, plan)) {
      const { sizeBytes, hash } = manifest.file(index)
      const inPlace = plan?.step(index) === 'blocks'
      // Renamed or copied: the receiver takes it from its own tree.
      if (!inPlace && (this.#sources?.find(sizeBytes, hash) ?? -1) >= 0) continue
      if (!manifest.isLarge(index)) small.push(index)
      else {
        const need = await this.#large(tree, index, inPlace ? (plan?.partner(index) ?? -1) : -1)
        if (need !== null) large.push(need)
      }
    }
    return { small, large }
  }

  async #large(tree: SavedTree, index: number, partner: number): Promise<LargeNeed | null> {
    const list = await tree.lists.list(index)
    // Damaged meanwhile: nothing of it is spooled, and copies read it from the live tree.
    if (list === null) return null
    const { sizeBytes } = tree.manifest.file(index)
    const own = await this.#ownList(partner, sizeBytes)
    return { index, list, blocks: newBlocks(list, own, sizeBytes, this.#zeros) }
  }

  /** Returns the block hashes of the base's version of a file as if it had another size; null: not known. */
  async #ownList(partner: number, sizeBytes: number): Promise<Buffer | null> {
    if (partner < 0 || this.#base === null) return null
    const mineBytes = this.#base.manifest.sizeBytes(partner)
    if (blockBytesOf(mineBytes) !== blockBytesOf(sizeBytes)) return null
    const list = await this.#base.lists.list(partner)
    return list === null ? null : seenAtSize(list, mineBytes, sizeBytes, this.#zeros)
  }
}

function* changedFiles(manifest: Manifest, plan: Plan | null): Generator<number> {
  for (let index = 0; index < manifest.count; index++) {
    if (manifest.kind(index) !== 'file') continue
    const step = plan?.step(index) ?? 'file'
    if (step === 'file' || step === 'blocks') yield index
  }
}

/**
 * Returns the blocks that differ from `own`, another list of the same file.
 * Blocks of zeros need no copy.
 */
export function newBlocks(list: Buffer, own: Buffer | null, sizeBytes: number, zeros: ZeroHashes): number[] {
  const { whole, last } = zeros.of(sizeBytes)
  const blocks: number[] = []
  const count = blockCountOf(sizeBytes)
  for (let block = 0; block < count; block++) {
    if (own !== null && sameHash(own, list, block)) continue
    if (!isHash(list, block, block === count - 1 ? last : whole)) blocks.push(block)
  }
  return blocks
}

/** Returns the hash of a block in a list. */
export function hashIn(list: Buffer, block: number): Buffer {
  return list.subarray(block * HASH_BYTES, (block + 1) * HASH_BYTES)
}
