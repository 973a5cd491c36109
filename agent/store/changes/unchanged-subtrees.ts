import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Touched } from '../tracker/contract.ts'

/** Bit for the entry itself. */
const SELF = 1
/** Bit for something below it. */
const BELOW = 2

/** The parts of a saved tree that have not changed since, as the tracker reports it: they need not be scanned. */
export class UnchangedSubtrees {
  readonly tree: SavedTree
  readonly #moved: Uint8Array

  /**
   * `touched` reports what came after the mark of `tree`.
   * Null for a tree with hard links, which is scanned as a whole: a skipped name may be one that another name
   * belongs to.
   */
  static of(tree: SavedTree, touched: Touched): UnchangedSubtrees | null {
    const { manifest, seen } = tree
    const moved = new Uint8Array(manifest.count)
    // Backwards: a directory's content follows it.
    for (let index = manifest.count - 1; index >= 0; index--) {
      if (manifest.kind(index) === 'link') return null
      // A state that was not final may have changed already.
      if (!seen.clean(index) || touched.has(seen.inoLow(index), seen.inoHigh(index)))
        moved[index] = SELF | (moved[index] ?? 0)
      if (index > 0 && moved[index] !== 0) moved[manifest.parent(index)] = BELOW | (moved[manifest.parent(index)] ?? 0)
    }
    return new UnchangedSubtrees(tree, moved)
  }

  private constructor(tree: SavedTree, moved: Uint8Array) {
    this.tree = tree
    this.#moved = moved
  }

  /** Whether an entry has not changed; for a directory its attributes and the names in it. */
  isUnchanged(index: number): boolean {
    return ((this.#moved[index] ?? SELF) & SELF) === 0
  }

  /** Whether an entry and everything below it has not changed. */
  isSubtreeUnchanged(index: number): boolean {
    return this.#moved[index] === 0
  }
}
