import { closeSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { errnoName, errnoOf, failureOf, isDiskFailure, SystemCallError } from '../../sys/failure.ts'
import { blockBytesOf, HASH_BYTES } from '../blocks/block-size.ts'
import { dataBlocks, holesList } from '../blocks/data-blocks.ts'
import { PIECE_BYTES, pieces } from '../blocks/read-pieces.ts'
import { self } from '../inode/directory.ts'
import { type BytePath, nameOf, parentOf, printable } from '../manifest/byte-path.ts'
import type { FileEntry } from '../manifest/entry.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { BlockRun, Piece, TreeReader } from '../tree-contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { hashOfList } from './block-lists.ts'
import { badRequest, isLongRunOf, isRunOf, largeFile, smallFiles } from './check-request.ts'
import { OpenReads } from './open-reads.ts'
import { loadSnapshot, type SavedKind, type SavedTree } from './saved-snapshot.ts'
import type { BlockLists } from './snapshot.ts'
import { TreeFiles } from './tree-files.ts'

/** Blocks that one task hashes when a list is missing. */
const HASHED_BLOCKS = 256

/**
 * Opens a saved tree of the copy in `directory`, and the files at `data` that it describes.
 * Null: there is none.
 * Later captures and applies do not affect an open reader. Rejects MANIFEST_INVALID when the manifest is damaged.
 */
export async function openReader(
  options: ReaderOptions & { readonly directory: string; readonly kind: SavedKind },
): Promise<TreeReader | null> {
  const tree = await loadSnapshot(options.directory, options.kind)
  return tree === null ? null : await DiskReader.open(tree, options)
}

interface ReaderOptions {
  /** Path of the tree. */
  readonly data: string
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  readonly memory: BufferPool
  /** True: content counts by its hash alone, which the receiver checks; the files' times do not count. */
  readonly inUse?: boolean
}

/** Reads a tree of this disk as it is now. */
export class DiskReader implements TreeReader {
  readonly #manifest: Manifest
  readonly #lists: BlockLists
  readonly #listsFile: FileHandle | null
  readonly #files: TreeFiles
  readonly #pool: BlockPool
  readonly #memory: BufferPool
  readonly #reads = new OpenReads()
  /** The list of the file with long runs that was read last: that of a terabyte has 40 MiB. */
  #longList: { readonly index: number; readonly list: Promise<Buffer | null> } | null = null
  #closed = false

  static async open(tree: SavedTree, options: ReaderOptions): Promise<DiskReader> {
    const lists = await openIfThere(tree.lists.path)
    try {
      return new DiskReader(tree, new TreeFiles(options), lists, options)
    } catch (error) {
      await lists?.close()
      throw error
    }
  }

  private constructor(
    { manifest, lists }: SavedTree,
    files: TreeFiles,
    listsFile: FileHandle | null,
    { pool, memory }: ReaderOptions,
  ) {
    this.#manifest = manifest
    this.#listsFile = listsFile
    // Opened repeatedly by path: through the descriptor it is always this file, whatever has its name by then.
    this.#lists = listsFile === null ? lists : lists.as({ path: self(listsFile.fd) })
    this.#files = files
    this.#pool = pool
    this.#memory = memory
  }

  /** Returns the block hashes of a large file; null when they are missing or damaged. */
  list(index: number): Promise<Buffer | null> {
    return this.#lists.list(index)
  }

  get hash(): string {
    return this.#manifest.hash
  }

  async *manifest(): AsyncGenerator<Buffer> {
    yield* this.#manifest.encoded()
  }

  async files(indexes: readonly number[]): Promise<{ data: Buffer; changed: number[] }> {
    const files = smallFiles(this.#askable(), indexes)
    using _ = this.#reads.begin()
    const groups: Promise<{ data: Buffer; changed: number[] }>[] = []
    for (let start = 0; start < files.length; ) {
      const directory = parentOf(files[start]?.path ?? '')
      let end = start + 1
      while (end < files.length && parentOf(files[end]?.path ?? '') === directory) end++
      groups.push(this.#filesOf(directory, files.slice(start, end), start))
      start = end
    }
    const parts = await Promise.all(groups)
    const [only] = parts
    if (parts.length === 1 && only !== undefined) return only
    const data = Buffer.allocUnsafeSlow(parts.reduce((sum, part) => sum + part.data.length, 0))
    let at = 0
    for (const part of parts) at += part.data.copy(data, at)
    return { data, changed: parts.flatMap((part) => part.changed) }
  }

  /** Reads files of one directory; `first` is the position of the first in the request. */
  async #filesOf(
    directory: BytePath,
    files: readonly FileEntry[],
    first: number,
  ): Promise<{ data: Buffer; changed: number[] }> {
    const fd = this.#files.openDirectory(directory)
    if (fd === null) {
      const bytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
      return { data: Buffer.from(new ArrayBuffer(bytes)), changed: files.map((_, nth) => first + nth) }
    }
    try {
      const names = files.map((file) => nameOf(file.path))
      const sizes = files.map((file) => file.sizeBytes)
      const { data, outcomes } = await this.#pool.readFiles(fd, names, sizes)
      const changed: number[] = []
      let at = 0
      for (const [nth, file] of files.entries()) {
        refuseUnreadable(file, outcomes[nth] ?? 0)
        const same = outcomes[nth] === 0 && this.#files.isSame(fd, nameOf(file.path), file)
        if (!same) {
          data.fill(0, at, at + file.sizeBytes)
          changed.push(first + nth)
        }
        at += file.sizeBytes
      }
      return { data, changed }
    } finally {
      closeSync(fd)
    }
  }

  async *hashes(index: number): AsyncGenerator<Buffer> {
    const file = largeFile(this.#askable(), index)
    using _ = this.#reads.begin()
    const list = (await this.#lists.list(index)) ?? (await this.#hashAnew(file))
    for (let at = 0; at < list.length; at += PIECE_BYTES) yield list.subarray(at, at + PIECE_BYTES)
  }

  /** Hashes the file again: its list was not saved, or is damaged. */
  async #hashAnew(file: FileEntry): Promise<Buffer> {
    const fd = this.#files.open(file)
    try {
      const list = holesList(file.sizeBytes)
      for (const { first, count } of dataBlocks(fd, file.sizeBytes, HASHED_BLOCKS)) {
        const hashes = await this.#pool.hashBlocks(fd, file.sizeBytes, first, count).catch(namedAs(file))
        hashes.copy(list, first * HASH_BYTES)
      }
      if (!hashOfList(list).equals(file.hash)) throw this.#files.changed(file)
      return list
    } finally {
      closeSync(fd)
    }
  }

  async *blocks({ index, first, count }: BlockRun): AsyncGenerator<Piece> {
    const file = largeFile(this.#askable(), index)
    const blockBytes = blockBytesOf(file.sizeBytes)
    if (!isRunOf(file.sizeBytes, { first, count }) && !(await this.#isLongRun(file, { index, first, count }))) {
      throw badRequest(`Entry ${index} has no run of ${count} blocks from block ${first} on.`)
    }
    using _ = this.#reads.begin()
    const fd = this.#files.open(file)
    try {
      const start = first * blockBytes
      try {
        yield* pieces(this.#memory, fd, start, Math.min(start + count * blockBytes, file.sizeBytes))
      } catch (error) {
        throw failureOf(printable(file.path), error)
      }
      if (!this.#files.isSame(fd, '', file)) throw this.#files.changed(file)
    } finally {
      closeSync(fd)
    }
  }

  async #isLongRun({ sizeBytes }: FileEntry, run: BlockRun): Promise<boolean> {
    if (this.#longList?.index !== run.index) this.#longList = { index: run.index, list: this.#lists.list(run.index) }
    return isLongRunOf(sizeBytes, run, await this.#longList.list)
  }

  #askable(): Manifest {
    if (this.#closed) throw badRequest('This tree is not read any more.')
    return this.#manifest
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#reads.ended()
    this.#files[Symbol.dispose]()
    await this.#listsFile?.close()
  }
}

/** Opens a file of the store for reading; null when it is not there. */
export async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

/** Throws for a failing disk: an unreadable file has not changed, and a retry does not help. */
function refuseUnreadable(file: FileEntry, outcome: number): void {
  if (isDiskFailure(errnoName(outcome))) throw new SystemCallError('read', printable(file.path), errnoName(outcome))
}

function namedAs(file: FileEntry): (error: unknown) => never {
  return (error) => {
    throw failureOf(printable(file.path), error)
  }
}
