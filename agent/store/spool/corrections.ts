import { HASH_BYTES } from '../blocks/block-size.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import { corrected, type NewContent } from '../snapshot/snapshot-builder.ts'

/** Where a tree differed from its manifest when it was copied. */
export class Corrections {
  readonly #tree: SavedTree
  readonly #gone = new Set<number>()
  readonly #contents = new Map<number, Buffer>()
  /** Actual lists of block hashes, by index. */
  readonly #lists = new Map<number, Buffer>()

  constructor(tree: SavedTree) {
    this.#tree = tree
  }

  /** The first difference in tree order; -1: none. */
  get first(): number {
    const all = [...this.#gone, ...this.#contents.keys(), ...this.#lists.keys()]
    return all.length === 0 ? -1 : all.reduce((first, index) => Math.min(first, index))
  }

  /** Notes a file that could not be read any more. */
  gone(index: number): void {
    this.#gone.add(index)
  }

  /** Notes a small file with other content. */
  content(index: number, hash: Buffer): void {
    this.#contents.set(index, hash)
  }

  /**
   * Notes a block of a large file with other content.
   * `list` has the manifest's hashes of all its blocks.
   */
  block(index: number, list: Buffer, block: number, hash: Buffer): void {
    let own = this.#lists.get(index)
    if (own === undefined) {
      own = Buffer.from(list)
      this.#lists.set(index, own)
    }
    hash.copy(own, block * HASH_BYTES)
  }

  /** Returns the tree as it was copied. Its lists are written to `listsPath`. */
  async resolve(listsPath: string): Promise<SavedTree> {
    if (this.first < 0) return this.#tree
    const contents = new Map<number, NewContent>()
    for (const [index, hash] of this.#contents) contents.set(index, { hash, list: null })
    for (const [index, list] of this.#lists) contents.set(index, { hash: hashOfList(list), list })
    return await corrected(this.#tree, { missing: this.#gone, contents }, listsPath)
  }
}
