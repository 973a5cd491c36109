import { createHash } from 'node:crypto'
import { WherryError } from '../../errors.ts'
import { blockCountOf, HASH_BYTES, isSmall } from '../blocks.ts'
import { Pace } from '../pace.ts'
import { type BytePath, joinPath, printable } from '../path.ts'
import type { Entry, EntryKind } from './entry.ts'
import {
  type Body,
  checkRecord,
  depthAt,
  fileFacts,
  fileSizeFrom,
  flagsAt,
  HEAD_BYTES,
  kindAt,
  Malformed,
  nameAt,
  nameLengthAt,
  readBody,
  recordRoom,
  writeRecord,
} from './record-codec.ts'
import { RecordIndex } from './record-index.ts'
import { TreeCheck } from './tree-check.ts'

const MAGIC = Buffer.from('wherry manifest 2\n')
/** After the records: 0, then how many there were. */
const TRAILER_BYTES = 5
const MAX_ENTRIES = 5_000_000
/** About 400 bytes for each of as many entries; offsets have 32 bits. The stream of a hostile sender ends here. */
const MAX_MANIFEST_BYTES = 2 * 1024 ** 3
const CHUNK_BYTES = 1024 * 1024
const FIRST_ROOM_BYTES = 64 * 1024

/**
 * A tree's description: entries in tree order (a directory, all that is in it, its next sibling; names by their bytes),
 * the root ('') first. Held encoded: about 90 bytes for an entry and 8 for finding it, so a million files are 100 MB.
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

  /** Entries of any kind without the root. */
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

  /** Index of the directory an entry is in; the root is its own. */
  parent(index: number): number {
    return this.#parents[index] ?? 0
  }

  path(index: number): BytePath {
    if (index === 0) return ''
    const parent = this.parent(index)
    if (parent !== this.#lastDirectory) {
      this.#lastDirectoryPath = this.path(parent)
      this.#lastDirectory = parent
    }
    return joinPath(this.#lastDirectoryPath, this.name(index))
  }

  entry(index: number): Entry {
    return { ...readBody(this.#buffer, this.#offset(index)), path: this.path(index) } as Entry
  }

  /** An entry without its path: cheaper. */
  body(index: number): Body {
    return readBody(this.#buffer, this.#offset(index))
  }

  /** Size and hash of a regular file. Only for an index whose kind is 'file'. */
  file(index: number): { sizeBytes: number; hash: Buffer } {
    return fileFacts(this.#buffer, this.#offset(index + 1))
  }

  /** Inode flags of an entry; 0 for all but files and directories. */
  flags(index: number): number {
    const kind = this.kind(index)
    return kind === 'dir' || kind === 'file' ? flagsAt(this.#buffer, this.#offset(index)) : 0
  }

  /** Size of a regular file. Only for an index whose kind is 'file'. */
  sizeBytes(index: number): number {
    return fileSizeFrom(this.#buffer, this.#offset(index + 1))
  }

  /** Whether an entry has a list of block hashes. */
  isLarge(index: number): boolean {
    return this.kind(index) === 'file' && !isSmall(this.sizeBytes(index))
  }

  /** Bytes of the list of block hashes of an entry; 0 when it has none. */
  listBytes(index: number): number {
    return this.isLarge(index) ? blockCountOf(this.sizeBytes(index)) * HASH_BYTES : 0
  }

  /** The index behind all that is in directory `index`. */
  subtreeEnd(index: number): number {
    const depth = this.depth(index)
    let end = index + 1
    while (end < this.count && this.depth(end) > depth) end++
    return end
  }

  /** Index of the entry with this path; -1 when there is none. Walks from directory to directory: not for every file. */
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

  /** Whether two entries say the same, their depth and name included. Links say which entry they mean by its number: equal links may differ here. */
  sameRecord(index: number, other: Manifest, otherIndex: number): boolean {
    const [a, aEnd] = [this.#offset(index), this.#offset(index + 1)]
    const [b, bEnd] = [other.#offset(otherIndex), other.#offset(otherIndex + 1)]
    return aEnd - a === bEnd - b && this.#buffer.compare(other.#buffer, b, bEnd, a, aEnd) === 0
  }

  /** The encoded form, for loops that cannot afford an object for each entry. Not to be changed. */
  get buffer(): Buffer {
    return this.#buffer
  }

  /** Where the record of an entry begins in `buffer`; for `count`, where the last ends. */
  offset(index: number): number {
    return this.#offset(index)
  }

  /** The form on disk and on the wire, in chunks of at most 1 MiB that share this manifest's memory. */
  *encoded(): Generator<Buffer> {
    for (let at = 0; at < this.#buffer.length; at += CHUNK_BYTES) yield this.#buffer.subarray(at, at + CHUNK_BYTES)
  }

  get encodedBytes(): number {
    return this.#buffer.length
  }

  #offset(index: number): number {
    const offset = this.#offsets[index]
    if (offset === undefined) throw new RangeError(`entry ${index} of ${this.count}`)
    return offset
  }
}

/** Makes a manifest, entry by entry in tree order; the root first, with depth 0 and no name. */
export class ManifestBuilder {
  readonly #hash = createHash('sha256')
  #buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_ROOM_BYTES)
  #end = MAGIC.copy(this.#buffer)
  #hashed = this.#end
  readonly #index = new RecordIndex()
  /** Files whose hash is still to come, ascending. */
  readonly #unread = new Set<number>()
  #bytes = 0

  get count(): number {
    return this.#index.count
  }

  /** Bytes of entries so far; a tree of more than the limits is for the caller to refuse. */
  get full(): boolean {
    return this.#index.count >= MAX_ENTRIES || this.#end > MAX_MANIFEST_BYTES - 2 * CHUNK_BYTES
  }

  add(depth: number, name: BytePath, entry: Body): number {
    this.#makeRoom(recordRoom(name, entry) + TRAILER_BYTES)
    const index = this.#index.add(this.#end, depth, entry.kind === 'dir')
    this.#end = writeRecord(this.#buffer, this.#end, depth, name, entry)
    if (entry.kind === 'file') this.#bytes += entry.sizeBytes
    if (this.#end - this.#hashed >= CHUNK_BYTES) this.#hashUp()
    return index
  }

  /** As `add`, for a file whose hash is not known yet: `setHash` must follow before `finish`. */
  addUnread(depth: number, name: BytePath, entry: Body & { kind: 'file' }): number {
    this.#unread.add(this.#index.count)
    return this.add(depth, name, entry)
  }

  /** Gives a file that was added unread its hash. */
  setHash(index: number, hash: Buffer): void {
    if (!this.#unread.delete(index)) throw new RangeError(`entry ${index} has its hash`)
    const end = index + 1 < this.#index.count ? this.#index.offset(index + 1) : this.#end
    hash.copy(this.#buffer, end - HASH_BYTES)
  }

  /** Takes an entry over as it stands in another manifest, at the same depth with the same name. Not for links. */
  copy(from: Manifest, index: number): number {
    const [start, end] = [from.offset(index), from.offset(index + 1)]
    this.#makeRoom(end - start + TRAILER_BYTES)
    const kind = from.kind(index)
    const copied = this.#index.add(this.#end, from.depth(index), kind === 'dir')
    this.#end += from.buffer.copy(this.#buffer, this.#end, start, end)
    if (kind === 'file') this.#bytes += from.sizeBytes(index)
    if (this.#end - this.#hashed >= CHUNK_BYTES) this.#hashUp()
    return copied
  }

  /** Takes the first entries of another manifest over, links included, into an empty builder. */
  copyFirst(from: Manifest, count: number): void {
    if (this.count > 0) throw new RangeError('the builder is not empty')
    const [start, end] = [this.#end, from.offset(count)]
    this.#makeRoom(end - start + TRAILER_BYTES)
    from.buffer.copy(this.#buffer, start, start, end)
    this.#end = end
    for (let index = 0; index < count; index++) {
      const kind = from.kind(index)
      this.#index.add(from.offset(index), from.depth(index), kind === 'dir')
      if (kind === 'file') this.#bytes += from.sizeBytes(index)
    }
    this.#hashUp()
  }

  /** RangeError when a file's hash is still missing. */
  finish(): Manifest {
    if (this.#unread.size > 0) throw new RangeError(`${this.#unread.size} files have no hash`)
    this.#hashUp()
    this.#makeRoom(TRAILER_BYTES)
    const recordsEnd = this.#end
    this.#buffer[this.#end] = 0
    this.#end = this.#buffer.writeUInt32LE(this.#index.count, this.#end + 1)
    const { offsets, parents } = this.#index.finish(recordsEnd)
    return new Manifest(this.#buffer.subarray(0, this.#end), offsets, parents, this.#hash.digest('hex'), this.#bytes)
  }

  /** Hashes the records up to the first that may still change. */
  #hashUp(): void {
    const [firstUnread] = this.#unread
    const end = firstUnread === undefined ? this.#end : this.#index.offset(firstUnread)
    if (end <= this.#hashed) return
    this.#hash.update(this.#buffer.subarray(this.#hashed, end))
    this.#hashed = end
  }

  #makeRoom(bytes: number): void {
    if (this.#end + bytes <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#end + bytes))
    this.#buffer.copy(larger, 0, 0, this.#end)
    this.#buffer = larger
  }
}

/** Decodes what may come from an enemy; rejects MANIFEST_INVALID, naming the entry. Memory is bounded by the limits above. */
export async function decodeManifest(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<Manifest> {
  const parts: Buffer[] = []
  let total = 0
  for await (const chunk of chunks) {
    total += chunk.length
    if (total > MAX_MANIFEST_BYTES) throw new WherryError('MANIFEST_INVALID', 'The manifest is longer than any may be.')
    parts.push(chunk)
  }
  const [only] = parts
  return parseManifest(parts.length === 1 && only !== undefined ? only : Buffer.concat(parts, total))
}

/** As `decodeManifest`; the buffer is kept and must not change. */
export async function parseManifest(buffer: Buffer): Promise<Manifest> {
  const hash = createHash('sha256')
  const index = new RecordIndex()
  const check = new TreeCheck(buffer)
  const pace = new Pace()
  let [at, hashed, bytes] = [MAGIC.length, MAGIC.length, 0]
  try {
    if (!buffer.subarray(0, MAGIC.length).equals(MAGIC)) throw new Malformed('not a manifest of version 2')
    while (buffer[at] !== 0 && at < buffer.length) {
      if (index.count >= MAX_ENTRIES) throw new Malformed('too many entries')
      const end = checkRecord(buffer, at, index.count)
      check.take(at)
      const kind = kindAt(buffer, at)
      index.add(at, depthAt(buffer, at), kind === 'dir')
      if (kind === 'file') bytes += fileSizeFrom(buffer, end)
      if (!Number.isSafeInteger(bytes)) throw new Malformed('sizes beyond any disk')
      at = end
      if (at - hashed < CHUNK_BYTES) continue
      hash.update(buffer.subarray(hashed, at))
      hashed = at
      if (pace.due()) await pace.rest()
    }
    if (at + TRAILER_BYTES !== buffer.length) throw new Malformed('cut off before the end, or data after it')
    if (index.count === 0) throw new Malformed('no root directory')
    if (buffer.readUInt32LE(at + 1) !== index.count) throw new Malformed('wrong number of entries')
  } catch (error) {
    if (error instanceof Malformed) throw invalid(error, index.count, check.lastName)
    throw error
  }
  hash.update(buffer.subarray(hashed, at))
  const { offsets, parents } = index.finish(at)
  return new Manifest(buffer, offsets, parents, hash.digest('hex'), bytes)
}

function invalid(fault: Malformed, index: number, name: BytePath): WherryError {
  const place = index === 0 ? '' : ` (after ${printable(name)})`
  return new WherryError('MANIFEST_INVALID', `The manifest is invalid at entry ${index}${place}: ${fault.message}.`, {
    hint: 'Use the same version of Wherry on all hosts; if they are, the sender or its disk is damaged.',
    cause: fault,
  })
}

/** One path of two manifests: index in `a` and in `b`; -1: it is not there. */
export interface Pair {
  readonly a: number
  readonly b: number
}

/** Walks two manifests side by side, in tree order. */
export function* joinManifests(a: Manifest, b: Manifest): Generator<Pair> {
  let [i, j] = [0, 0]
  while (i < a.count || j < b.count) {
    const order = orderOf(a, i, b, j)
    yield { a: order <= 0 ? i : -1, b: order >= 0 ? j : -1 }
    if (order <= 0) i++
    if (order >= 0) j++
  }
}

/** Which of two entries comes first. What lies deeper belongs to a directory that the other tree is through with. */
function orderOf(a: Manifest, i: number, b: Manifest, j: number): number {
  if (i >= a.count) return 1
  if (j >= b.count) return -1
  const [da, db] = [a.depth(i), b.depth(j)]
  return da === db ? a.compareNames(i, b, j) : db - da
}
