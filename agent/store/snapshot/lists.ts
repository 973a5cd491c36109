import { createHash } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { blockBytesOf, HASH_BYTES } from '../blocks.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { TaggedBlocks } from '../pool/contract.ts'
import { TAG_BYTES } from '../pool/tag.ts'
import { KnownBlocks } from './known-blocks.ts'
import type { BlockLists } from './snapshot.ts'

/** Lists are carried over from one file to the next in pieces of this size. */
const COPY_BYTES = 1024 * 1024
/** Lists of 16 GiB that are kept in memory for each tree that is worked with, at most. */
const KEPT_BYTES = 32 * 1024 * 1024
/** The list of 32 MiB. */
const SHORT_BYTES = 64 * 1024

/** Behind each list lie the tags of the same blocks (pool/tag.ts). One that is not known is zeros. */
function tagBytesOf(listBytes: number): number {
  return (listBytes / HASH_BYTES) * TAG_BYTES
}

/** Where the list of each large file begins in a file that has them in the order of the manifest, each with its tags. */
class ListOffsets {
  /** Indexes of the large files, ascending, and where their lists begin. */
  readonly #indexes: number[] = []
  readonly #offsets: number[] = []
  total = 0

  add(index: number, listBytes: number): number {
    const offset = this.total
    this.#indexes.push(index)
    this.#offsets.push(offset)
    this.total += listBytes + tagBytesOf(listBytes)
    return offset
  }

  /** Where the lists of large files from `index` on begin. */
  from(index: number): number {
    return this.#offsets[this.#position(index)] ?? this.total
  }

  /** undefined: not a large file. */
  of(index: number): number | undefined {
    const position = this.#position(index)
    return this.#indexes[position] === index ? this.#offsets[position] : undefined
  }

  /** Position of the first large file at or after `index`. */
  #position(index: number): number {
    let [low, high] = [0, this.#indexes.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#indexes[middle] ?? 0) < index) low = middle + 1
      else high = middle
    }
    return low
  }

  static of(manifest: Manifest): ListOffsets {
    const offsets = new ListOffsets()
    for (let index = 0; index < manifest.count; index++) {
      const listBytes = manifest.listBytes(index)
      if (listBytes > 0) offsets.add(index, listBytes)
    }
    return offsets
  }
}

/** Lists that were found right, by index: each is two megabytes for a gigabyte of data, and is asked for several times in a round. */
class RightLists {
  readonly #lists = new Map<number, Buffer>()
  #bytes = 0

  get(index: number): Buffer | undefined {
    return this.#lists.get(index)
  }

  /** The first ones stay: which are asked for again cannot be told. */
  add(index: number, list: Buffer): void {
    if (this.#lists.has(index) || this.#bytes + list.length > KEPT_BYTES) return
    this.#lists.set(index, list)
    this.#bytes += list.length
  }
}

/** Lists in a file. A file that is missing, damaged or another manifest's has no list that is believed. */
export class ListFile implements BlockLists {
  readonly #manifest: Manifest
  readonly #right: RightLists
  #path: string
  #offsets: ListOffsets | undefined

  constructor(manifest: Manifest, path: string, right = new RightLists()) {
    this.#manifest = manifest
    this.#path = path
    this.#right = right
  }

  get path(): string {
    return this.#path
  }

  /** The file was given another name. */
  moved(path: string): void {
    this.#path = path
  }

  get offsets(): ListOffsets {
    this.#offsets ??= ListOffsets.of(this.#manifest)
    return this.#offsets
  }

  /** Not to be changed by whoever gets it. */
  async list(index: number): Promise<Buffer | null> {
    const offset = this.offsets.of(index)
    if (offset === undefined) return null
    const known = this.#right.get(index)
    if (known !== undefined) return known
    return this.#checked(index, await readPart(this.#path, offset, this.#manifest.listBytes(index)))
  }

  /** As `list`, for whoever cannot wait. */
  listNow(index: number): Buffer | null {
    const offset = this.offsets.of(index)
    if (offset === undefined) return null
    const known = this.#right.get(index)
    if (known !== undefined) return known
    return this.#checked(index, readPartNow(this.#path, offset, this.#manifest.listBytes(index)))
  }

  /** As `list`; a short one at once: waiting for it costs many times what reading it does. */
  listSoon(index: number): Buffer | null | Promise<Buffer | null> {
    return this.#manifest.listBytes(index) > SHORT_BYTES ? this.list(index) : this.listNow(index)
  }

  /** Whether this very list was found right before. */
  isRight(index: number, list: Buffer): boolean {
    return this.#right.get(index) === list
  }

  #checked(index: number, list: Buffer | null): Buffer | null {
    if (list === null || !hashOfList(list).equals(this.#manifest.file(index).hash)) return null
    this.#right.add(index, list)
    return list
  }

  /** The tags of a large file's blocks, not checked: each proves itself. null when they are not there. */
  tagsNow(index: number): Buffer | null {
    const offset = this.offsets.of(index)
    if (offset === undefined) return null
    const listBytes = this.#manifest.listBytes(index)
    return readPartNow(this.#path, offset + listBytes, tagBytesOf(listBytes))
  }

  /** What is known of the blocks of file `index`, for a file that has `sizeBytes` now; null when that is nothing. To be closed. */
  async known(index: number, sizeBytes: number): Promise<KnownBlocks | null> {
    const hashesAt = this.offsets.of(index)
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

/** Writes lists and tags into a new file, in any order, into places that were set aside in the order of the manifest. */
export class ListWriter implements Disposable {
  readonly offsets = new ListOffsets()
  readonly #right = new RightLists()
  readonly #path: string
  #fd: number | undefined

  /** The file is made when there is something to write; one that is there already is emptied. */
  constructor(path: string) {
    this.#path = path
  }

  /** Sets a place aside for the list of large file `index` and its tags; answers where it begins. */
  reserve(index: number, listBytes: number): number {
    return this.offsets.add(index, listBytes)
  }

  /** Sets a place aside and fills it. `tags` may be those of another list, longer or shorter: each proves itself. */
  add(index: number, list: Buffer, tags: Buffer | null): void {
    const offset = this.reserve(index, list.length)
    this.#write(offset, list)
    if (tags !== null) this.#write(offset + list.length, tags.subarray(0, tagBytesOf(list.length)))
  }

  /** Some blocks of a file, from block `first` on. `offset` and `listBytes`: of the place that was set aside. */
  writeBlocks(offset: number, listBytes: number, first: number, { hashes, tags }: TaggedBlocks): void {
    this.#write(offset + first * HASH_BYTES, hashes)
    this.#write(offset + listBytes + first * TAG_BYTES, tags)
  }

  /** A whole list that was just made, and is what the manifest will have the hash of. */
  keep(index: number, list: Buffer): void {
    this.#right.add(index, list)
  }

  #write(offset: number, data: Buffer): void {
    for (let done = 0; done < data.length; ) {
      done += writeSync(this.#open(), data, done, data.length - done, offset + done)
    }
  }

  /** Takes over the lists of the first entries of another file as they are. */
  copyFirst(from: ListFile, manifest: Manifest, count: number): void {
    const end = from.offsets.from(count)
    for (let index = 0; index < count && this.offsets.total < end; index++) {
      const listBytes = manifest.listBytes(index)
      if (listBytes > 0) this.reserve(index, listBytes)
    }
    if (end === 0) return
    const source = openSync(from.path, 'r')
    try {
      const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, end))
      for (let at = 0; at < end; ) {
        const bytes = readSync(source, piece, 0, Math.min(piece.length, end - at), at)
        if (bytes === 0) break
        this.#write(at, piece.subarray(0, bytes))
        at += bytes
      }
    } finally {
      closeSync(source)
    }
  }

  /** Ends the file: places that were never written to are zeros, which are no file's list. Not synced. */
  finish(manifest: Manifest): ListFile {
    if (this.offsets.total > 0) ftruncateSync(this.#open(), this.offsets.total)
    this[Symbol.dispose]()
    return new ListFile(manifest, this.#path, this.#right)
  }

  #open(): number {
    this.#fd ??= openSync(this.#path, 'w', 0o600)
    return this.#fd
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }
}
