import { HASH_BYTES } from '../blocks/block-size.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import { corrected, type NewContent } from '../snapshot/snapshot-builder.ts'

/** Where a tree was not what its manifest says when it was copied. */
export class Corrections {
  readonly #tree: KeptTree
  readonly #gone = new Set<number>()
  readonly #contents = new Map<number, Buffer>()
  /** Lists of block hashes as they are in truth. */
  readonly #lists = new Map<number, Buffer>()

  constructor(tree: KeptTree) {
    this.#tree = tree
  }

  /** The first of them in tree order; -1: there are none. */
  get first(): number {
    const all = [...this.#gone, ...this.#contents.keys(), ...this.#lists.keys()]
    return all.length === 0 ? -1 : all.reduce((first, index) => Math.min(first, index))
  }

  /** Its file could not be read any more. */
  gone(index: number): void {
    this.#gone.add(index)
  }

  /** A small file had another content. */
  content(index: number, hash: Buffer): void {
    this.#contents.set(index, hash)
  }

  /** A block of a large file had another content; `list` is what the manifest says of all. */
  block(index: number, list: Buffer, block: number, hash: Buffer): void {
    let own = this.#lists.get(index)
    if (own === undefined) {
      own = Buffer.from(list)
      this.#lists.set(index, own)
    }
    hash.copy(own, block * HASH_BYTES)
  }

  /** The tree as it was copied. Its lists are written to `listsPath`. */
  async resolve(listsPath: string): Promise<KeptTree> {
    if (this.first < 0) return this.#tree
    const contents = new Map<number, NewContent>()
    for (const [index, hash] of this.#contents) contents.set(index, { hash, list: null })
    for (const [index, list] of this.#lists) contents.set(index, { hash: hashOfList(list), list })
    return await corrected(this.#tree, { missing: this.#gone, contents }, listsPath)
  }
}
