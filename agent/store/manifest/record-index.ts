const FIRST_ENTRIES = 1024

/** Offsets and parents of records, in memory that grows by doubling. */
export class RecordIndex {
  count = 0
  #offsets = new Uint32Array(FIRST_ENTRIES)
  #parents = new Uint32Array(FIRST_ENTRIES)
  /** Index of the open directory at each depth. */
  readonly #directories: number[] = []

  add(offset: number, depth: number, isDirectory: boolean): number {
    if (this.count === this.#offsets.length) this.#grow()
    const index = this.count++
    this.#offsets[index] = offset
    this.#parents[index] = depth === 0 ? 0 : (this.#directories[depth - 1] ?? 0)
    if (isDirectory) this.#directories[depth] = index
    return index
  }

  offset(index: number): number {
    return this.#offsets[index] ?? 0
  }

  finish(end: number): { offsets: Uint32Array; parents: Uint32Array } {
    const offsets = new Uint32Array(this.count + 1)
    offsets.set(this.#offsets.subarray(0, this.count))
    offsets[this.count] = end
    return { offsets, parents: this.#parents.slice(0, this.count) }
  }

  #grow(): void {
    const [offsets, parents] = [this.#offsets, this.#parents]
    this.#offsets = new Uint32Array(offsets.length * 2)
    this.#offsets.set(offsets)
    this.#parents = new Uint32Array(parents.length * 2)
    this.#parents.set(parents)
  }
}
