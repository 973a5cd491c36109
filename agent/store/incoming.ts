import { closeSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { WherryError } from '../errors.ts'
import { ContentHash, hashOf, SMALL_FILE_BYTES } from './content.ts'
import type { FileEntry } from './entry.ts'
import { type Stage, writeAll } from './stage.ts'

/** One file on its way into the stage. Data comes in order; what is skipped is a hole. */
export class IncomingFile {
  readonly #stage: Stage
  readonly #entry: FileEntry
  readonly #hash: ContentHash
  #file: FileHandle | null = null
  /** A small file that came in one piece waits here, to be written at its end in one go. */
  #whole: Buffer | null = null

  constructor(stage: Stage, entry: FileEntry, signal: AbortSignal) {
    this.#hash = new ContentHash(signal)
    this.#stage = stage
    this.#entry = entry
  }

  async write(offset: number, data: Buffer): Promise<void> {
    const { sizeBytes } = this.#entry
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + data.length > sizeBytes) throw misplaced(offset)
    if (offset === 0 && data.length === sizeBytes && sizeBytes <= SMALL_FILE_BYTES && this.#file === null) {
      this.#whole = data
      return
    }
    const file = await this.#open()
    if (offset < this.#hash.position) throw misplaced(offset)
    await this.#hash.skipTo(offset)
    // The kernel copies in another thread while this one hashes.
    const written = writeAll(file, data, offset)
    this.#hash.update(data)
    await written
  }

  /** Checks the content; true: it is complete in the stage. False: it is not what the manifest says and was thrown away. */
  async end(): Promise<boolean> {
    if (this.#whole !== null) return this.#endWhole(this.#whole)
    const { sizeBytes, hash } = this.#entry
    const file = await this.#open()
    await this.#hash.skipTo(sizeBytes)
    const good = this.#hash.digest() === hash
    if (good) await file.truncate(sizeBytes)
    await this.close()
    if (good) await rename(this.#stage.part(hash), this.#stage.content(hash))
    else await rm(this.#stage.part(hash), { force: true })
    return good
  }

  /** Leaves what has come for a later attempt. */
  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = null
  }

  #endWhole(data: Buffer): boolean {
    const { hash } = this.#entry
    const part = this.#stage.part(hash)
    if (hashOf(data) !== hash) {
      rmSync(part, { force: true })
      return false
    }
    const fd = openSync(part, 'w', 0o600)
    try {
      writeFileSync(fd, data)
    } finally {
      closeSync(fd)
    }
    renameSync(part, this.#stage.content(hash))
    return true
  }

  /** Opens the part; what it has already is read to bring the hash up to there. */
  async #open(): Promise<FileHandle> {
    if (this.#file !== null) return this.#file
    const { hash, sizeBytes } = this.#entry
    this.#file = await open(this.#stage.part(hash), 'a+', 0o600)
    const { size } = await this.#file.stat()
    // Positions are ours to say; 'a+' was only to make the file without cutting it.
    await this.#file.close()
    this.#file = await open(this.#stage.part(hash), 'r+')
    if (size > sizeBytes) await this.#file.truncate(0)
    else await this.#hash.read(this.#file.fd, size)
    return this.#file
  }
}

function misplaced(offset: number): WherryError {
  return new WherryError(
    'REQUEST_INVALID',
    `File data came for offset ${offset}, out of order or beyond the file's end.`,
  )
}
