import { createHash } from 'node:crypto'
import { HASH_BYTES } from '../blocks/block-size.ts'
import type { BytePath } from './byte-path.ts'
import {
  CHUNK_BYTES,
  MAGIC,
  TRAILER_BYTES,
  TREE_LIMITS,
  type TreeLimits,
  TreeTooLarge,
  tooManyEntries,
} from './format.ts'
import { Manifest } from './manifest.ts'
import { type Body, encodeRecord, recordRoom } from './record-codec.ts'
import { RecordIndex } from './record-index.ts'

const FIRST_ROOM_BYTES = 64 * 1024

/** Builds a manifest, entry by entry in tree order; the root first, with depth 0 and no name. */
export class ManifestBuilder {
  readonly #hash = createHash('sha256')
  #buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_ROOM_BYTES)
  #end = MAGIC.copy(this.#buffer)
  #hashed = this.#end
  readonly #index = new RecordIndex()
  /** Files without a hash so far, ascending. */
  readonly #unread = new Set<number>()
  #bytes = 0
  readonly #limits: TreeLimits

  /** Beyond the limits every addition throws TreeTooLarge. */
  constructor(limits = TREE_LIMITS) {
    this.#limits = limits
  }

  get count(): number {
    return this.#index.count
  }

  add(depth: number, name: BytePath, entry: Body): number {
    this.#makeEntryRoom(recordRoom(name, entry))
    const index = this.#index.add(this.#end, depth, entry.kind === 'dir')
    this.#end = encodeRecord(this.#buffer, this.#end, depth, name, entry)
    if (entry.kind === 'file') this.#bytes += entry.sizeBytes
    if (this.#end - this.#hashed >= CHUNK_BYTES) this.#hashUp()
    return index
  }

  /** As `add`, for a file whose hash is not known yet: `setHash` must follow before `finish`. */
  addUnread(depth: number, name: BytePath, entry: Body & { kind: 'file' }): number {
    this.#unread.add(this.#index.count)
    return this.add(depth, name, entry)
  }

  /** Sets the hash of a file that was added unread. */
  setHash(index: number, hash: Buffer): void {
    if (!this.#unread.delete(index)) throw new RangeError(`entry ${index} has its hash`)
    const end = index + 1 < this.#index.count ? this.#index.offset(index + 1) : this.#end
    hash.copy(this.#buffer, end - HASH_BYTES)
  }

  /** Takes over an entry of another manifest, at the same depth with the same name. Not for links. */
  copy(from: Manifest, index: number): number {
    const [start, end] = [from.offset(index), from.offset(index + 1)]
    this.#makeEntryRoom(end - start)
    const kind = from.kind(index)
    const copied = this.#index.add(this.#end, from.depth(index), kind === 'dir')
    this.#end += from.buffer.copy(this.#buffer, this.#end, start, end)
    if (kind === 'file') this.#bytes += from.sizeBytes(index)
    if (this.#end - this.#hashed >= CHUNK_BYTES) this.#hashUp()
    return copied
  }

  /** As `copy`, for a file whose hash will differ: `setHash` must follow before `finish`. */
  copyUnread(from: Manifest, index: number): number {
    this.#unread.add(this.#index.count)
    return this.copy(from, index)
  }

  /** Takes over the first entries of another manifest, links included, into an empty builder. */
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

  /** Throws RangeError when a file's hash is still missing. */
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

  #makeEntryRoom(bytes: number): void {
    if (this.#index.count >= this.#limits.entries) throw tooManyEntries(this.#limits)
    if (this.#end + bytes + TRAILER_BYTES > this.#limits.manifestBytes) {
      const limit = this.#limits.manifestBytes
      throw new TreeTooLarge(`has more names, extended attributes and link targets than fit in ${limit} bytes`)
    }
    this.#makeRoom(bytes + TRAILER_BYTES)
  }

  #makeRoom(bytes: number): void {
    if (this.#end + bytes <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#end + bytes))
    this.#buffer.copy(larger, 0, 0, this.#end)
    this.#buffer = larger
  }
}
