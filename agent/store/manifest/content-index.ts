import type { Manifest } from './manifest.ts'

/**
 * Finds a file of this host's own tree by size and hash.
 * An open hash table of indexes, 8 to 16 bytes for each file: a map would take ten times that.
 */
export class ContentIndex {
  readonly #mine: Manifest
  /** Index plus 1; 0: free. The length is a power of two, at most half of it in use. */
  readonly #slots: Uint32Array

  /** With `wanted` false nothing will be looked up, and nothing is read. */
  constructor(mine: Manifest, wanted: boolean) {
    this.#mine = mine
    let slots = 16
    while (slots < 2 * mine.count) slots *= 2
    this.#slots = new Uint32Array(slots)
    if (!wanted) return
    for (let index = 0; index < mine.count; index++) {
      if (mine.kind(index) !== 'file') continue
      const { sizeBytes, hash } = mine.file(index)
      const slot = this.#slot(sizeBytes, hash)
      if (this.#slots[slot] === 0) this.#slots[slot] = index + 1
    }
  }

  /** Returns the index of a file with this content; -1 when there is none. */
  find(sizeBytes: number, hash: Buffer): number {
    return (this.#slots[this.#slot(sizeBytes, hash)] ?? 0) - 1
  }

  /** Returns the slot of this content, or the free slot for it. */
  #slot(sizeBytes: number, hash: Buffer): number {
    const mask = this.#slots.length - 1
    for (let slot = hash.readUInt32LE(0) & mask; ; slot = (slot + 1) & mask) {
      const known = this.#slots[slot] ?? 0
      if (known === 0) return slot
      const file = this.#mine.file(known - 1)
      if (file.sizeBytes === sizeBytes && file.hash.equals(hash)) return slot
    }
  }
}
