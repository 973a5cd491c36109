import { NS_PER_SECOND, type StatBuffer } from '../../sys/stat.ts'
import type { InodeStateView } from './snapshot.ts'

/** Inode number (8 bytes), seconds of the ctime (low 32 bits), its nanoseconds with two more bits of the seconds. */
const WORDS = 4
/** The words and the clean flag. */
const SEEN_BYTES = WORDS * 4 + 1
const REST_BITS = 30
const REST_MASK = 2 ** REST_BITS - 1
const UINT32 = 2 ** 32
const FIRST_ENTRIES = 1024

/** Inode numbers and ctimes of a manifest's entries, 17 bytes each. ctimes range from 1970 to 2514. */
export class InodeStates implements InodeStateView {
  readonly count: number
  readonly words: Uint32Array
  readonly cleans: Uint8Array

  constructor(count: number, words: Uint32Array, cleans: Uint8Array) {
    this.count = count
    this.words = words
    this.cleans = cleans
  }

  ino(index: number): bigint {
    const at = index * WORDS
    return (BigInt(this.words[at + 1] ?? 0) << 32n) | BigInt(this.words[at] ?? 0)
  }

  /** The lower 32 bits of `ino`. */
  inoLow(index: number): number {
    return this.words[index * WORDS] ?? 0
  }

  /** The upper 32 bits of `ino`. */
  inoHigh(index: number): number {
    return this.words[index * WORDS + 1] ?? 0
  }

  ctimeNs(index: number): bigint {
    const at = index * WORDS
    const rest = this.words[at + 3] ?? 0
    const seconds = (rest >>> REST_BITS) * UINT32 + (this.words[at + 2] ?? 0)
    return BigInt(seconds) * NS_PER_SECOND + BigInt(rest & REST_MASK)
  }

  clean(index: number): boolean {
    return this.cleans[index] === 1
  }

  /** Whether an entry was recorded in a clean state and is the same inode with the same ctime now. */
  cleanAs(index: number, stat: StatBuffer): boolean {
    const at = index * WORDS
    return (
      this.cleans[index] === 1 &&
      this.words[at] === stat.inoLow &&
      this.words[at + 1] === stat.inoHigh &&
      this.words[at + 2] === stat.ctimeSeconds % UINT32 &&
      this.words[at + 3] === restOf(stat)
    )
  }

  /** Whether an entry is the same inode with another ctime now. */
  isChanged(index: number, stat: StatBuffer): boolean {
    const at = index * WORDS
    if (this.words[at] !== stat.inoLow || this.words[at + 1] !== stat.inoHigh) return false
    return this.words[at + 2] !== stat.ctimeSeconds % UINT32 || this.words[at + 3] !== restOf(stat)
  }

  equals(other: InodeStates): boolean {
    return bytesOf(this.words).equals(bytesOf(other.words)) && bytesOf(this.cleans).equals(bytesOf(other.cleans))
  }

  /** Encodes the table for the disk. Shares this table's memory. */
  encoded(): Buffer[] {
    return [bytesOf(this.words), bytesOf(this.cleans)]
  }

  /** Returns a table with nothing recorded. */
  static empty(count: number): InodeStates {
    return new InodeStates(count, new Uint32Array(count * WORDS), new Uint8Array(count))
  }

  /** Decodes a table; null when the bytes are not those of `count` entries. */
  static decode(bytes: Buffer, count: number): InodeStates | null {
    if (bytes.length !== count * SEEN_BYTES) return null
    const words = new Uint32Array(count * WORDS)
    bytes.copy(bytesOf(words), 0, 0, words.byteLength)
    return new InodeStates(count, words, new Uint8Array(bytes.subarray(words.byteLength)))
  }
}

/** Builds a table entry by entry, doubling its memory when full. */
export class InodeStatesBuilder {
  #count = 0
  #words = new Uint32Array(FIRST_ENTRIES * WORDS)
  #cleans = new Uint8Array(FIRST_ENTRIES)

  add(stat: StatBuffer, clean: boolean): void {
    const at = this.#next() * WORDS
    this.#words[at] = stat.inoLow
    this.#words[at + 1] = stat.inoHigh
    this.#words[at + 2] = stat.ctimeSeconds % UINT32
    this.#words[at + 3] = restOf(stat)
    this.#cleans[this.#count - 1] = clean ? 1 : 0
  }

  /** Adds a further name of an inode. */
  addNothing(): void {
    this.#next()
  }

  /** Copies the first entries of another table into an empty one. */
  copyFirst(from: InodeStates, count: number): void {
    while (this.#cleans.length < count) this.#grow()
    this.#words.set(from.words.subarray(0, count * WORDS))
    this.#cleans.set(from.cleans.subarray(0, count))
    this.#count = count
  }

  copy(from: InodeStates, index: number): void {
    const at = this.#next()
    this.#words.set(from.words.subarray(index * WORDS, (index + 1) * WORDS), at * WORDS)
    this.#cleans[at] = from.cleans[index] ?? 0
  }

  setClean(index: number, clean: boolean): void {
    this.#cleans[index] = clean ? 1 : 0
  }

  finish(): InodeStates {
    return new InodeStates(this.#count, this.#words.slice(0, this.#count * WORDS), this.#cleans.slice(0, this.#count))
  }

  #next(): number {
    if (this.#count === this.#cleans.length) this.#grow()
    return this.#count++
  }

  #grow(): void {
    const [words, cleans] = [this.#words, this.#cleans]
    this.#words = new Uint32Array(words.length * 2)
    this.#words.set(words)
    this.#cleans = new Uint8Array(cleans.length * 2)
    this.#cleans.set(cleans)
  }
}

function restOf(stat: StatBuffer): number {
  return (stat.ctimeRestNs | (Math.floor(stat.ctimeSeconds / UINT32) << REST_BITS)) >>> 0
}

function bytesOf(array: Uint32Array | Uint8Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}
