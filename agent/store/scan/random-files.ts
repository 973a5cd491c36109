import { randomInt } from 'node:crypto'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'

/** Enough for a tree in which one entry of ten is a file, and to find all files of a small tree. */
const TRIES_PER_FILE = 32

/** Files of a kept tree that were chosen by chance. Choosing costs the same whatever the tree's size, and asking costs a comparison. */
export class RandomFiles {
  readonly tree: KeptTree
  /** Ascending: those behind the next one. */
  readonly #rest: number[]
  #next = -1

  /** At most `most` files. */
  constructor(tree: KeptTree, most: number) {
    const { manifest } = tree
    const chosen = new Set<number>()
    for (let tries = 0; tries < most * TRIES_PER_FILE && chosen.size < most; tries++) {
      const index = randomInt(manifest.count)
      if (manifest.kind(index) === 'file') chosen.add(index)
    }
    this.tree = tree
    this.#rest = [...chosen].sort((a, b) => a - b)
  }

  /** Whether an entry was chosen. Each question is for an entry behind the one before. */
  has(index: number): boolean {
    while (this.#next < index) this.#next = this.#rest.shift() ?? Number.POSITIVE_INFINITY
    return this.#next === index
  }
}
