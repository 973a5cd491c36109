import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, ftruncateSync, openSync, unlinkSync } from 'node:fs'
import { WherryError } from '../../model/errors.ts'
import { errnoOf } from '../../sys/failure.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { readFully, writeFully } from '../blocks/full-io.ts'

const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants
/** The file's hash, then the bytes of the list. */
const HEAD_BYTES = HASH_BYTES + 4
/** The list of a file of 16 TiB, the largest that ext4 holds: a list in use is in memory as a whole. */
export const LIST_MAX_BYTES = 128 * 1024 * 1024

/**
 * Received block lists, by the hash of their file, in one file that only grows.
 * A later target uses the lists of an earlier one if it has the same file. About 100 bytes of memory for each list.
 */
export class StagedLists {
  readonly #path: string
  readonly #places = new Map<string, { readonly offset: number; readonly bytes: number }>()
  #fd = -1
  #end = 0

  constructor(path: string) {
    this.#path = path
  }

  /** Bytes of the file. */
  get sizeBytes(): number {
    return this.#end
  }

  /** Whether a list is here; it may still prove damaged when it is read. */
  has(hash: Buffer): boolean {
    this.#load(false)
    return this.#places.has(key(hash))
  }

  /**
   * Returns the list of the file with this hash, checked.
   * Null when it is missing or damaged (then it counts as missing).
   */
  read(hash: Buffer): Buffer | null {
    this.#load(false)
    const place = this.#places.get(key(hash))
    if (place === undefined) return null
    const list = Buffer.allocUnsafeSlow(place.bytes)
    if (fill(this.#fd, list, place.offset) && listFits(list, hash)) return list
    this.#places.delete(key(hash))
    return null
  }

  /**
   * Adds a list. HASH_MISMATCH: it is not that of the file with this hash.
   * Durable with the next sync of the file system.
   */
  add(hash: Buffer, list: Buffer): void {
    if (!listFits(list, hash)) {
      throw new WherryError('HASH_MISMATCH', `A list of ${list.length / HASH_BYTES} block hashes is not the file's.`, {
        hint: 'The sending host or its disk is damaged; verify its copy.',
      })
    }
    this.#load(true)
    if (this.#places.has(key(hash))) return
    const head = Buffer.allocUnsafe(HEAD_BYTES)
    hash.copy(head)
    head.writeUInt32LE(list.length, HASH_BYTES)
    writeFully(this.#fd, head, this.#end)
    writeFully(this.#fd, list, this.#end + HEAD_BYTES)
    this.#places.set(key(hash), { offset: this.#end + HEAD_BYTES, bytes: list.length })
    this.#end += HEAD_BYTES + list.length
  }

  /** Drops all lists and removes the file. */
  drop(): void {
    this.close()
    try {
      unlinkSync(this.#path)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
    }
  }

  /** Closes the descriptor; the next use opens the file again. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
    this.#end = 0
    this.#places.clear()
  }

  #load(create: boolean): void {
    if (this.#fd >= 0) return
    try {
      this.#fd = openSync(this.#path, O_RDWR | O_NOFOLLOW | (create ? O_CREAT : 0), 0o600)
    } catch (error) {
      if (!create && errnoOf(error) === 'ENOENT') return
      throw error
    }
    const size = fstatSync(this.#fd).size
    const head = Buffer.allocUnsafe(HEAD_BYTES)
    while (this.#end + HEAD_BYTES <= size && fill(this.#fd, head, this.#end)) {
      const bytes = head.readUInt32LE(HASH_BYTES)
      const offset = this.#end + HEAD_BYTES
      if (bytes === 0 || bytes > LIST_MAX_BYTES || offset + bytes > size) break
      this.#places.set(key(head), { offset, bytes })
      this.#end = offset + bytes
    }
    // The rest of a list that a crash cut off.
    if (this.#end < size) ftruncateSync(this.#fd, this.#end)
  }
}

function key(hash: Buffer): string {
  return hash.toString('latin1', 0, HASH_BYTES)
}

function listFits(list: Buffer, hash: Buffer): boolean {
  return createHash('sha256').update(list).digest().equals(hash)
}

/** Fills a buffer from a file; false: the file ends before. */
function fill(fd: number, buffer: Buffer, offset: number): boolean {
  return readFully(fd, buffer, 0, buffer.length, offset) === buffer.length
}
