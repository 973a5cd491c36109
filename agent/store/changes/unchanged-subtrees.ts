import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { Touched } from '../tracker/contract.ts'

/** The entry itself. */
const SELF = 1
/** Something below it. */
const BELOW = 2

/** A kept tree and which parts of it stood still since, by the tracker's word: they need not be looked at. */
export class UnchangedSubtrees {
  readonly tree: KeptTree
  readonly #moved: Uint8Array

  /**
   * `touched` tells of what came after the mark of `tree`. null: a tree with hard links is looked at as a whole, since a name that is passed over may be one
   * that another name belongs to.
   */
  static of(tree: KeptTree, touched: Touched): UnchangedSubtrees | null {
    const { manifest, seen } = tree
    const moved = new Uint8Array(manifest.count)
    // Backwards: what is in a directory stands behind it.
    for (let index = manifest.count - 1; index >= 0; index--) {
      if (manifest.kind(index) === 'link') return null
      // What was not seen as it stays may have changed already.
      if (!seen.clean(index) || touched.has(seen.inoLow(index), seen.inoHigh(index)))
        moved[index] = SELF | (moved[index] ?? 0)
      if (index > 0 && moved[index] !== 0) moved[manifest.parent(index)] = BELOW | (moved[manifest.parent(index)] ?? 0)
    }
    return new UnchangedSubtrees(tree, moved)
  }

  private constructor(tree: KeptTree, moved: Uint8Array) {
    this.tree = tree
    this.#moved = moved
  }

  /** Whether an entry stood still; of a directory its attributes and the names in it. */
  stood(index: number): boolean {
    return ((this.#moved[index] ?? SELF) & SELF) === 0
  }

  /** Whether an entry and all that is below it stood still. */
  allStood(index: number): boolean {
    return this.#moved[index] === 0
  }
}
