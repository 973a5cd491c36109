import { type BigIntStats, close, closeSync, constants, fstatSync, openSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { type Chunk, dataChunks } from './content.ts'
import type { TreeReader } from './contract.ts'
import { DirectoryCursor, openRoot } from './directory.ts'
import type { FileEntry } from './entry.ts'
import { decodeManifest, type Manifest } from './manifest.ts'
import { printable } from './path.ts'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME } = constants
const MANIFEST_CHUNK_BYTES = 256 * 1024
const closeAsync = promisify(close)

/** Opens a kept manifest and the tree it describes. Later captures and applies replace the manifest's file, not what this reader has open. */
export async function openReader(manifestFile: string, data: string, volume: string): Promise<TreeReader> {
  const file = await open(manifestFile, 'r')
  try {
    const manifest = await decodeManifest(chunksOf(file))
    return new DiskReader(volume, file, manifest, openRoot(data))
  } catch (error) {
    await file.close()
    throw error
  }
}

class DiskReader implements TreeReader {
  readonly #volume: string
  readonly #file: FileHandle
  readonly #manifest: Manifest
  readonly #root: number
  readonly #cursor: DirectoryCursor
  #closed = false

  constructor(volume: string, file: FileHandle, manifest: Manifest, root: number) {
    this.#volume = volume
    this.#file = file
    this.#manifest = manifest
    this.#root = root
    this.#cursor = new DirectoryCursor(root)
  }

  get hash(): string {
    return this.#manifest.hash
  }

  manifest(): AsyncIterable<Buffer> {
    return chunksOf(this.#file)
  }

  async *read(index: number, offset: number): AsyncGenerator<Chunk> {
    const entry = this.#manifest.entries[index]
    if (
      this.#closed ||
      entry?.kind !== 'file' ||
      !Number.isSafeInteger(offset) ||
      offset < 0 ||
      offset > entry.sizeBytes
    ) {
      throw new WherryError('REQUEST_INVALID', `Entry ${index} from byte ${offset} on is no file's data.`)
    }
    const fd = this.#open(entry)
    try {
      yield* dataChunks(fd, offset, entry.sizeBytes)
      this.#checkSame(entry, fstatSync(fd, { bigint: true }))
    } finally {
      await closeAsync(fd)
    }
  }

  #open(entry: FileEntry): number {
    let fd: number
    try {
      fd = openSync(this.#cursor.locate(entry.path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME)
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '')) throw this.#changed(entry, error)
      throw error
    }
    try {
      this.#checkSame(entry, fstatSync(fd, { bigint: true }))
      return fd
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  #checkSame(entry: FileEntry, stat: BigIntStats): void {
    const regular = (Number(stat.mode) & constants.S_IFMT) === constants.S_IFREG
    if (!regular || Number(stat.size) !== entry.sizeBytes || stat.mtimeNs !== entry.mtimeNs) throw this.#changed(entry)
  }

  #changed(entry: FileEntry, cause?: unknown): WherryError {
    const what = `${printable(entry.path)} in volume ${this.#volume} is not what the manifest says any more.`
    return new WherryError('TREE_CHANGED', what, { hint: 'The volume was written to since; ask for it again.', cause })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#cursor[Symbol.dispose]()
    closeSync(this.#root)
    await this.#file.close()
  }
}

async function* chunksOf(file: FileHandle): AsyncGenerator<Buffer> {
  for (let position = 0; ; ) {
    const buffer = Buffer.allocUnsafeSlow(MANIFEST_CHUNK_BYTES)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
    if (bytesRead === 0) return
    position += bytesRead
    yield buffer.subarray(0, bytesRead)
  }
}
