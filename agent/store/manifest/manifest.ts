import { blockCountOf, HASH_BYTES, isSmall } from '../blocks/block-size.ts'
import { type BytePath, joinPath } from './byte-path.ts'
import type { Entry, EntryKind } from './entry.ts'
import { CHUNK_BYTES } from './format.ts'
import {
  type Body,
  decodeBody,
  depthAt,
  fileFacts,
  fileSizeFrom,
  flagsAt,
  HEAD_BYTES,
  kindAt,
  nameAt,
  nameLengthAt,
} from './record-codec.ts'

/**
 * A tree's description: entries in tree order, the root ('') first.
 * Tree order: a directory, everything in it, its next sibling; names by their bytes.
 * It is held encoded, with about 90 bytes for an entry and 8 for finding it: 100 MB for a million files.
 */
export class Manifest {
  /** Hex SHA-256 of the records. */
  readonly hash: string
  /** Number of entries with the root. */
  readonly count: number
  /** Sum of the sizes of all regular files, each inode once. */
  readonly bytes: number
  readonly #buffer: Buffer
  /** Where each record begins; one more for the end of the last. */
  readonly #offsets: Uint32Array
  readonly #parents: Uint32Array
  /** The index behind each entry and everything in it; made when it is first needed. */
  #ends: Uint32Array | null = null
  #lastDirectory = 0
  #lastDirectoryPath: BytePath = ''

  constructor(buffer: Buffer, offsets: Uint32Array, parents: Uint32Array, hash: string, bytes: number) {
    this.#buffer = buffer
    this.#offsets = offsets
    this.#parents = parents
    this.hash = hash
    this.bytes = bytes
    this.count = parents.length
  }

  /** Number of entries of any kind without the root. */
  get files(): number {
    return this.count - 1
  }

  kind(index: number): EntryKind {
    return kindAt(this.#buffer, this.#offset(index))
  }

  /** Levels below the root, which has 0. */
  depth(index: number): number {
    return depthAt(this.#buffer, this.#offset(index))
  }

  name(index: number): BytePath {
    return nameAt(this.#buffer, this.#offset(index))
  }

  /** Returns the index of an entry's directory; the root is its own. */
  parent(index: number): number {
    return this.#parents[index] ?? 0
  }

  path(index: number): BytePath {
    if (index === 0) return ''
    const parent = this.parent(index)
    if (parent !== this.#lastDirectory) {
      this.#lastDirectoryPath = this.names(parent).join('/')
      this.#lastDirectory = parent
    }
    return joinPath(this.#lastDirectoryPath, this.name(index))
  }

  /** Returns the names from the root to an entry, its own the last. */
  names(index: number): BytePath[] {
    const names: BytePath[] = []
    for (let at = index; at !== 0; at = this.parent(at)) names.push(this.name(at))
    return names.reverse()
  }

  entry(index: number): Entry {
    return { ...decodeBody(this.#buffer, this.#offset(index)), path: this.path(index) } as Entry
  }

  /** Returns an entry without its path, which is cheaper. */
  body(index: number): Body {
    return decodeBody(this.#buffer, this.#offset(index))
  }

  /** Returns size and hash of a regular file. Only for an index whose kind is 'file'. */
  file(index: number): { sizeBytes: number; hash: Buffer } {
    return fileFacts(this.#buffer, this.#offset(index + 1))
  }

  /** Returns the inode flags of an entry; 0 for all but files and directories. */
  flags(index: number): number {
    const kind = this.kind(index)
    return kind === 'dir' || kind === 'file' ? flagsAt(this.#buffer, this.#offset(index)) : 0
  }

  /** Returns the size of a regular file. Only for an index whose kind is 'file'. */
  sizeBytes(index: number): number {
    return fileSizeFrom(this.#buffer, this.#offset(index + 1))
  }

  /** Whether an entry has a list of block hashes. */
  isLarge(index: number): boolean {
    return this.kind(index) === 'file' && !isSmall(this.sizeBytes(index))
  }

  /** Returns the bytes of an entry's list of block hashes; 0 when it has none. */
  listBytes(index: number): number {
    return this.isLarge(index) ? blockCountOf(this.sizeBytes(index)) * HASH_BYTES : 0
  }

  /** Returns the index behind everything in directory `index`. */
  subtreeEnd(index: number): number {
    this.#ends ??= this.#endsOfSubtrees()
    return this.#ends[index] ?? this.count
  }

  /** A directory's content follows it: backwards, all of it has its end before the directory gets its own. */
  #endsOfSubtrees(): Uint32Array {
    const ends = new Uint32Array(this.count)
    for (let index = this.count - 1; index >= 0; index--) {
      const end = Math.max(ends[index] ?? 0, index + 1)
      ends[index] = end
      const parent = this.parent(index)
      if (index > 0 && (ends[parent] ?? 0) < end) ends[parent] = end
    }
    return ends
  }

  /**
   * Returns the index of the entry with this path; -1 when there is none.
   * Walks from directory to directory: too slow for every file.
   */
  find(path: BytePath): number {
    let [at, end] = [0, this.count]
    for (const name of path === '' ? [] : path.split('/')) {
      const depth = this.depth(at) + 1
      end = this.subtreeEnd(at)
      at++
      while (at < end && !(this.depth(at) === depth && this.name(at) === name)) at++
      if (at >= end) return -1
    }
    return at
  }

  /** Orders the names of two entries by their bytes. */
  compareNames(index: number, other: Manifest, otherIndex: number): number {
    const [a, b] = [this.#offset(index), other.#offset(otherIndex)]
    const aEnd = a + HEAD_BYTES + nameLengthAt(this.#buffer, a)
    const bEnd = b + HEAD_BYTES + nameLengthAt(other.#buffer, b)
    return this.#buffer.compare(other.#buffer, b + HEAD_BYTES, bEnd, a + HEAD_BYTES, aEnd)
  }

  /**
   * Whether two entries have equal records, with depth and name.
   * A link names its entry by number: equal links may differ here.
   */
  sameRecord(index: number, other: Manifest, otherIndex: number): boolean {
    const [a, aEnd] = [this.#offset(index), this.#offset(index + 1)]
    const [b, bEnd] = [other.#offset(otherIndex), other.#offset(otherIndex + 1)]
    return aEnd - a === bEnd - b && this.#buffer.compare(other.#buffer, b, bEnd, a, aEnd) === 0
  }

  /** The encoded form, for loops that cannot afford an object for each entry. It must not be changed. */
  get buffer(): Buffer {
    return this.#buffer
  }

  /** Returns where the record of an entry begins in `buffer`; for `count`, where the last ends. */
  offset(index: number): number {
    return this.#offset(index)
  }

  /** Returns the form on disk and on the wire, in chunks of at most 1 MiB that share this manifest's memory. */
  *encoded(): Generator<Buffer> {
    for (let at = 0; at < this.#buffer.length; at += CHUNK_BYTES) yield this.#buffer.subarray(at, at + CHUNK_BYTES)
  }

  #offset(index: number): number {
    const offset = this.#offsets[index]
    if (offset === undefined) throw new RangeError(`entry ${index} of ${this.count}`)
    return offset
  }
}
