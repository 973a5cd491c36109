/** A set of small numbers below `length`: one bit each. */
export class Bitmap {
  readonly length: number
  readonly #bits: Uint8Array
  #count = 0

  constructor(length: number) {
    this.length = length
    this.#bits = new Uint8Array(Math.ceil(length / 8))
  }

  /** How many are in the set. */
  get count(): number {
    return this.#count
  }

  has(index: number): boolean {
    return (((this.#bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 1
  }

  add(index: number): void {
    if (index < 0 || index >= this.length) throw new RangeError(`bit ${index} of ${this.length}`)
    if (this.has(index)) return
    this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7))
    this.#count++
  }
}
