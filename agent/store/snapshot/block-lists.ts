import { createHash } from 'node:crypto'
import { closeSync, fstatSync, ftruncateSync, linkSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { TaggedBlocks } from '../workers/contract.ts'
import { KnownBlocks } from './known-blocks.ts'
import { Places, tagBytesOf } from './list-offsets.ts'
import type { BlockLists } from './snapshot.ts'

/** A file that has more than this of earlier trees' lists, beside what the present tree has, is written anew. */
const STALE_MAX_SHARE = 1
const STALE_MAX_BYTES = 1024 * 1024
/** Lists of 16 GiB that are kept in memory for each tree that is worked with, at most. */
const KEPT_BYTES = 32 * 1024 * 1024
/** The list of 32 MiB. */
const SHORT_BYTES = 64 * 1024

/** Lists that were found right, by index: each is two megabytes for a gigabyte of data, and is asked for several times in a round. */
class RightLists {
  readonly #lists = new Map<number, Buffer>()
  /** Those too that are not in memory any more. */
  readonly #seen = new Set<number>()
  #bytes = 0

  has(index: number): boolean {
    return this.#seen.has(index)
  }

  /** It lies where another tree's list has been found right, or was written. */
  note(index: number): void {
    this.#seen.add(index)
  }

  get(index: number): Buffer | undefined {
    return this.#lists.get(index)
  }

  /** The first ones stay: which are asked for again cannot be told. */
  add(index: number, list: Buffer): void {
    this.#seen.add(index)
    if (this.#lists.has(index) || this.#bytes + list.length > KEPT_BYTES) return
    this.#lists.set(index, list)
    this.#bytes += list.length
  }
}

/** Lists in a file. A file that is missing, damaged or another manifest's has no list that is believed. */
export class ListFile implements BlockLists {
  readonly #manifest: Manifest
  readonly #right: RightLists
  readonly places: Places
  #path: string

  constructor(manifest: Manifest, path: string, places: Places, right = new RightLists()) {
    this.#manifest = manifest
    this.#path = path
    this.places = places
    this.#right = right
  }

  /** The same lists in the same file under another name, or of another form of the same manifest. */
  as({ manifest = this.#manifest, path = this.#path }: { manifest?: Manifest; path?: string }): ListFile {
    return new ListFile(manifest, path, this.places)
  }

  get path(): string {
    return this.#path
  }

  /** The file was given another name. */
  moved(path: string): void {
    this.#path = path
  }

  /** Not to be changed by whoever gets it. */
  async list(index: number): Promise<Buffer | null> {
    const offset = this.places.of(index)
    if (offset === undefined) return null
    const known = this.#right.get(index)
    if (known !== undefined) return known
    return this.#checked(index, await readPart(this.#path, offset, this.#manifest.listBytes(index)))
  }

  /** As `list`, for whoever cannot wait. */
  listNow(index: number): Buffer | null {
    const offset = this.places.of(index)
    if (offset === undefined) return null
    const known = this.#right.get(index)
    if (known !== undefined) return known
    return this.#checked(index, readPartNow(this.#path, offset, this.#manifest.listBytes(index)))
  }

  /** As `list`; a short one at once: waiting for it costs many times what reading it does. */
  listSoon(index: number): Buffer | null | Promise<Buffer | null> {
    return this.#manifest.listBytes(index) > SHORT_BYTES ? this.list(index) : this.listNow(index)
  }

  /** Whether the list is there: it is not looked at again when it was found right before. Whoever uses it checks it. */
  isThere(index: number): boolean | Promise<boolean> {
    if (this.#right.has(index)) return true
    const soon = this.listSoon(index)
    return soon instanceof Promise ? soon.then((list) => list !== null) : soon !== null
  }

  /** What is known of the list at its place, for the same place of another tree. */
  known(index: number): { readonly wasRight: boolean; readonly list: Buffer | undefined } {
    return { wasRight: this.#right.has(index), list: this.#right.get(index) }
  }

  #checked(index: number, list: Buffer | null): Buffer | null {
    if (list === null || !hashOfList(list).equals(this.#manifest.file(index).hash)) return null
    this.#right.add(index, list)
    return list
  }

  /** The tags of a large file's blocks, not checked: each proves itself. null when they are not there. */
  tagsNow(index: number): Buffer | null {
    const offset = this.places.of(index)
    if (offset === undefined) return null
    const listBytes = this.#manifest.listBytes(index)
    return readPartNow(this.#path, offset + listBytes, tagBytesOf(listBytes))
  }

  /** What is known of the blocks of file `index`, for a file that has `sizeBytes` now; null when that is nothing. To be closed. */
  async knownBlocks(index: number, sizeBytes: number): Promise<KnownBlocks | null> {
    const hashesAt = this.places.of(index)
    if (hashesAt === undefined) return null
    if (blockBytesOf(this.#manifest.sizeBytes(index)) !== blockBytesOf(sizeBytes)) return null
    const listBytes = this.#manifest.listBytes(index)
    const place = { hashesAt, tagsAt: hashesAt + listBytes, count: listBytes / HASH_BYTES }
    return await KnownBlocks.open({ path: this.#path, ...place })
  }
}

/** The hash of a file of several blocks. */
export function hashOfList(list: Buffer): Buffer {
  return createHash('sha256').update(list).digest()
}

async function readPart(path: string, offset: number, bytes: number): Promise<Buffer | null> {
  try {
    await using file = await open(path, 'r')
    const part = Buffer.allocUnsafeSlow(bytes)
    const { bytesRead } = await file.read(part, 0, bytes, offset)
    return bytesRead === bytes ? part : null
  } catch {
    // Lists only save work: a file whose list cannot be read is read anew.
    return null
  }
}

function readPartNow(path: string, offset: number, bytes: number): Buffer | null {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const part = Buffer.allocUnsafeSlow(bytes)
    return readSync(fd, part, 0, bytes, offset) === bytes ? part : null
  } catch {
    // Without it the next change of the file costs more, that is all.
    return null
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** Files that some writer appends to at present, by device and inode. */
const growing = new Set<string>()

/**
 * Writes lists and tags, in any order, into places that were set aside in the order of the manifest. The file is a new one, or grows that of an earlier tree,
 * of which it becomes one more name: lists that stay as they are stay where they are. What is in a file is never written over.
 */
export class BlockListWriter implements Disposable {
  readonly places = new Places()
  readonly #right = new RightLists()
  readonly #path: string
  #fd: number | undefined
  #end = 0
  #grown: { readonly from: ListFile; readonly key: string } | null = null

  /** The file is made when there is something to write; one that is there already loses that name. */
  constructor(path: string) {
    this.#path = path
  }

  /** Goes on in the file of an earlier tree, if that is worth it. To be called before anything else. */
  grow(from: ListFile): void {
    if (from.places.bytes === 0) return
    rmSync(this.#path, { force: true })
    let fd: number | undefined
    try {
      linkSync(from.path, this.#path)
      fd = openSync(this.#path, 'r+')
      const { dev, ino, size } = fstatSync(fd)
      const key = `${dev} ${ino}`
      const isStale = size > from.places.bytes * (1 + STALE_MAX_SHARE) + STALE_MAX_BYTES
      if (isStale || size < from.places.bytes || growing.has(key)) {
        closeSync(fd)
        rmSync(this.#path, { force: true })
        return
      }
      growing.add(key)
      this.#fd = fd
      this.#end = size
      this.#grown = { from, key }
    } catch {
      // A file system without links, or lists that are gone: they are written anew.
      if (fd !== undefined) closeSync(fd)
      rmSync(this.#path, { force: true })
    }
  }

  /** Sets a place aside for the list of large file `index` and its tags; answers where it begins. */
  reserve(index: number, listBytes: number): number {
    const offset = this.#end
    this.places.add(index, offset, listBytes)
    this.#end += listBytes + tagBytesOf(listBytes)
    return offset
  }

  /** Sets a place aside and fills it. `tags` may be those of another list, longer or shorter: each proves itself. */
  add(index: number, list: Buffer, tags: Buffer | null): void {
    const offset = this.reserve(index, list.length)
    this.#write(offset, list)
    if (tags !== null) this.#write(offset + list.length, tags.subarray(0, tagBytesOf(list.length)))
  }

  /** Takes over the list of entry `from` of another tree, as it is. */
  keep(index: number, lists: ListFile, from: number, listBytes: number): void {
    const place = this.#grown?.from === lists ? lists.places.of(from) : undefined
    if (place === undefined) {
      const list = lists.listNow(from)
      if (list !== null) this.#right.add(index, list)
      // A list that is not known stays so: zeros are no file's list.
      this.add(index, list ?? Buffer.alloc(listBytes), lists.tagsNow(from))
      return
    }
    this.places.add(index, place, listBytes)
    const { wasRight, list } = lists.known(from)
    if (list !== undefined) this.#right.add(index, list)
    else if (wasRight) this.#right.note(index)
  }

  /** Some blocks of a file, from block `first` on. `offset` and `listBytes`: of the place that was set aside. */
  writeBlocks(offset: number, listBytes: number, first: number, { hashes, tags }: TaggedBlocks): void {
    this.#write(offset + first * HASH_BYTES, hashes)
    this.#write(offset + listBytes + first * TAG_BYTES, tags)
  }

  /** A whole list that was just made, and is what the manifest will have the hash of. */
  note(index: number, list: Buffer): void {
    this.#right.add(index, list)
  }

  /** Ends the file: places that were never written to are zeros, which are no file's list. Not synced. */
  finish(manifest: Manifest): ListFile {
    if (this.places.bytes > 0) ftruncateSync(this.#open(), this.#end)
    this[Symbol.dispose]()
    return new ListFile(manifest, this.#path, this.places, this.#right)
  }

  #write(offset: number, data: Buffer): void {
    for (let done = 0; done < data.length; ) {
      done += writeSync(this.#open(), data, done, data.length - done, offset + done)
    }
  }

  #open(): number {
    if (this.#fd === undefined) {
      // It may be one more name of a file that has another tree's lists.
      rmSync(this.#path, { force: true })
      this.#fd = openSync(this.#path, 'wx', 0o600)
    }
    return this.#fd
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    if (this.#grown !== null) growing.delete(this.#grown.key)
    // Another one may grow it by the next time.
    this.#grown = null
  }
}
