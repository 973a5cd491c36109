import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { KnownBlocks } from './known-blocks.ts'
import { type ListOffsets, tagBytesOf } from './list-offsets.ts'
import type { BlockLists } from './snapshot.ts'

/** Lists of 16 GiB, kept in memory for each tree in use at most. */
const KEPT_BYTES = 32 * 1024 * 1024
/** The list of 32 MiB. */
const SHORT_BYTES = 64 * 1024

/**
 * Lists that were checked, by index.
 * Each is two megabytes for a gigabyte of data, and is read several times in a round.
 */
export class RightLists {
  readonly #lists = new Map<number, Buffer>()
  /** Includes those that are not in memory any more. */
  readonly #seen = new Set<number>()
  #bytes = 0

  has(index: number): boolean {
    return this.#seen.has(index)
  }

  /** Notes a list that was checked or written for another tree at the same place. */
  note(index: number): void {
    this.#seen.add(index)
  }

  get(index: number): Buffer | undefined {
    return this.#lists.get(index)
  }

  /** The first ones stay: it cannot be predicted which are read again. */
  add(index: number, list: Buffer): void {
    this.#seen.add(index)
    if (this.#lists.has(index) || this.#bytes + list.length > KEPT_BYTES) return
    this.#lists.set(index, list)
    this.#bytes += list.length
  }
}

/**
 * Block lists in a file.
 * A list counts only if it matches the manifest: the file may be missing, damaged or another's.
 */
export class BlockListFile implements BlockLists {
  readonly #manifest: Manifest
  readonly #right: RightLists
  readonly places: ListOffsets
  #path: string

  constructor(manifest: Manifest, path: string, places: ListOffsets, right = new RightLists()) {
    this.#manifest = manifest
    this.#path = path
    this.places = places
    this.#right = right
  }

  /** Returns the same lists under another path, or for another form of the same manifest. */
  as({ manifest = this.#manifest, path = this.#path }: { manifest?: Manifest; path?: string }): BlockListFile {
    return new BlockListFile(manifest, path, this.places)
  }

  get path(): string {
    return this.#path
  }

  /** Notes that the file was renamed. */
  moved(path: string): void {
    this.#path = path
  }

  /** Callers must not change the result. */
  async list(index: number): Promise<Buffer | null> {
    const offset = this.places.of(index)
    if (offset === undefined) return null
    const known = this.#right.get(index)
    if (known !== undefined) return known
    return this.#checked(index, await readPart(this.#path, offset, this.#manifest.listBytes(index)))
  }

  /** As `list`, synchronously. */
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

  /** Whether the list is there. One that was checked before is not read again; its users check it. */
  isThere(index: number): boolean | Promise<boolean> {
    if (this.#right.has(index)) return true
    const soon = this.listSoon(index)
    return soon instanceof Promise ? soon.then((list) => list !== null) : soon !== null
  }

  /** Returns what is known of the list, for the same place of another tree. */
  known(index: number): { readonly wasRight: boolean; readonly list: Buffer | undefined } {
    return { wasRight: this.#right.has(index), list: this.#right.get(index) }
  }

  #checked(index: number, list: Buffer | null): Buffer | null {
    if (list === null || !hashOfList(list).equals(this.#manifest.file(index).hash)) return null
    this.#right.add(index, list)
    return list
  }

  /**
   * Returns the tags of a large file's blocks, unchecked: each proves itself.
   * Null when they are not there.
   */
  tagsNow(index: number): Buffer | null {
    const offset = this.places.of(index)
    if (offset === undefined) return null
    const listBytes = this.#manifest.listBytes(index)
    return readPartNow(this.#path, offset + listBytes, tagBytesOf(listBytes))
  }

  /**
   * Returns what is known of the blocks of file `index`, which has `sizeBytes` now; null: nothing.
   * The result must be closed.
   */
  async knownBlocks(index: number, sizeBytes: number): Promise<KnownBlocks | null> {
    const hashesAt = this.places.of(index)
    if (hashesAt === undefined) return null
    if (blockBytesOf(this.#manifest.sizeBytes(index)) !== blockBytesOf(sizeBytes)) return null
    const listBytes = this.#manifest.listBytes(index)
    const place = { hashesAt, tagsAt: hashesAt + listBytes, count: listBytes / HASH_BYTES }
    return await KnownBlocks.open({ path: this.#path, ...place })
  }
}

/** Returns the hash of a file of several blocks. */
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
    // Lists only save work: a file whose list cannot be read is read again.
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
    // Without it the next change of the file costs more, nothing else.
    return null
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}
