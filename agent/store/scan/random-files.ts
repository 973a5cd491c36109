import { randomInt } from 'node:crypto'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'

/** Enough for a tree in which one entry of ten is a file, and to find all files of a small tree. */
const TRIES_PER_FILE = 32

/**
 * Files of a saved tree, chosen at random.
 * Choosing costs the same whatever the tree's size; a query costs a comparison.
 */
export class RandomFiles {
  readonly tree: SavedTree
  /** Ascending: the chosen files after the next one. */
  readonly #rest: number[]
  #next = -1

  /** `most`: how many files are chosen at most. */
  constructor(tree: SavedTree, most: number) {
    const { manifest } = tree
    const chosen = new Set<number>()
    for (let tries = 0; tries < most * TRIES_PER_FILE && chosen.size < most; tries++) {
      const index = randomInt(manifest.count)
      if (manifest.kind(index) === 'file') chosen.add(index)
    }
    this.tree = tree
    this.#rest = [...chosen].sort((a, b) => a - b)
  }

  /** Whether an entry was chosen. Call it for ascending indexes. */
  has(index: number): boolean {
    while (this.#next < index) this.#next = this.#rest.shift() ?? Number.POSITIVE_INFINITY
    return this.#next === index
  }
}
