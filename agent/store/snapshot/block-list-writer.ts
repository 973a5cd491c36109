import { closeSync, fstatSync, ftruncateSync, linkSync, openSync, rmSync } from 'node:fs'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { writeFully } from '../blocks/full-io.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { TaggedBlocks } from '../workers/contract.ts'
import { BlockListFile, RightLists } from './block-lists.ts'
import { ListOffsets, tagBytesOf } from './list-offsets.ts'

/** Share of stale lists, relative to the present tree's, above which the file is written anew. */
const STALE_MAX_SHARE = 1
const STALE_MAX_BYTES = 1024 * 1024
/** Files that a writer appends to at present, by device and inode. */
const growingFiles = new Set<string>()

/**
 * Writes lists and tags, in any order, into places that were reserved in the order of the manifest.
 * The file is new, or it is an earlier tree's file that grows and gets one more name. Unchanged lists stay where
 * they are, and nothing in the file is overwritten.
 */
export class BlockListWriter implements Disposable {
  readonly places = new ListOffsets()
  readonly #right = new RightLists()
  readonly #path: string
  #fd: number | undefined
  #end = 0
  #grown: { readonly from: BlockListFile; readonly key: string } | null = null

  /** Creates the file when there is something to write; an existing one loses that name. */
  constructor(path: string) {
    this.#path = path
  }

  /** Continues in the file of an earlier tree, if that pays. Call it first. */
  grow(from: BlockListFile): void {
    if (from.places.bytes === 0) return
    rmSync(this.#path, { force: true })
    let fd: number | undefined
    try {
      linkSync(from.path, this.#path)
      fd = openSync(this.#path, 'r+')
      const { dev, ino, size } = fstatSync(fd)
      const key = `${dev} ${ino}`
      const isStale = size > from.places.bytes * (1 + STALE_MAX_SHARE) + STALE_MAX_BYTES
      if (isStale || size < from.places.bytes || growingFiles.has(key)) {
        closeSync(fd)
        rmSync(this.#path, { force: true })
        return
      }
      growingFiles.add(key)
      this.#fd = fd
      this.#end = size
      this.#grown = { from, key }
    } catch {
      // A file system without links, or lists that are gone: they are written anew.
      if (fd !== undefined) closeSync(fd)
      rmSync(this.#path, { force: true })
    }
  }

  /** Reserves a place for the list of large file `index` and its tags; returns its offset. */
  reserve(index: number, listBytes: number): number {
    const offset = this.#end
    this.places.add(index, offset, listBytes)
    this.#end += listBytes + tagBytesOf(listBytes)
    return offset
  }

  /**
   * Reserves a place and fills it.
   * `tags` may be those of another list, longer or shorter: each proves itself.
   */
  add(index: number, list: Buffer, tags: Buffer | null): void {
    const offset = this.reserve(index, list.length)
    this.#write(offset, list)
    if (tags !== null) this.#write(offset + list.length, tags.subarray(0, tagBytesOf(list.length)))
  }

  /** Takes over the list of entry `from` of another tree. */
  keep(index: number, lists: BlockListFile, from: number, listBytes: number): void {
    const place = this.#grown?.from === lists ? lists.places.of(from) : undefined
    if (place === undefined) {
      const list = lists.listNow(from)
      if (list !== null) this.#right.add(index, list)
      // An unknown list stays zeros, which is no file's list.
      this.add(index, list ?? Buffer.alloc(listBytes), lists.tagsNow(from))
      return
    }
    this.places.add(index, place, listBytes)
    const { wasRight, list } = lists.known(from)
    if (list !== undefined) this.#right.add(index, list)
    else if (wasRight) this.#right.note(index)
  }

  /**
   * Writes some blocks of a file, from block `first` on.
   * `offset` and `listBytes` are those of its reserved place.
   */
  writeBlocks(offset: number, listBytes: number, first: number, { hashes, tags }: TaggedBlocks): void {
    this.#write(offset + first * HASH_BYTES, hashes)
    this.#write(offset + listBytes + first * TAG_BYTES, tags)
  }

  /** Notes a whole list that was just made, whose hash the manifest will have. */
  note(index: number, list: Buffer): void {
    this.#right.add(index, list)
  }

  /** Ends the file. Places that were never written are zeros, which is no file's list. Not synced. */
  finish(manifest: Manifest): BlockListFile {
    if (this.places.bytes > 0) ftruncateSync(this.#open(), this.#end)
    this[Symbol.dispose]()
    return new BlockListFile(manifest, this.#path, this.places, this.#right)
  }

  #write(offset: number, data: Buffer): void {
    writeFully(this.#open(), data, offset)
  }

  #open(): number {
    if (this.#fd === undefined) {
      // It may be one more name of a file with another tree's lists.
      rmSync(this.#path, { force: true })
      this.#fd = openSync(this.#path, 'wx', 0o600)
    }
    return this.#fd
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    if (this.#grown !== null) growingFiles.delete(this.#grown.key)
    // Another writer may grow it by the next time.
    this.#grown = null
  }
}
