import { closeSync, constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { WherryError } from '../../errors.ts'
import type { Recycler } from '../../recycler.ts'
import { errnoName, errnoOf, failureOf, isDiskFailure, SystemCallError } from '../../sys/failure.ts'
import { openAt } from '../../sys/open.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, isSmall } from '../blocks.ts'
import { type BlockRun, FILES_MAX, FILES_MAX_BYTES, type Piece, RUN_MAX_BYTES, type TreeReader } from '../exchange.ts'
import { openDirectory, openRoot, self } from '../inode/directory.ts'
import { lookAgain, movedAway } from '../inode/inode.ts'
import type { FileEntry } from '../manifest/entry.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { type BytePath, nameOf, parentOf, printable } from '../path.ts'
import type { BlockPool } from '../pool/contract.ts'
import { type KeptKind, type KeptTree, loadSnapshot } from './kept.ts'
import { hashOfList, ListFile } from './lists.ts'
import { PIECE_BYTES, pieces } from './pieces.ts'
import type { BlockLists } from './snapshot.ts'

const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOATIME
/** Blocks hashed in one go when a list is missing. */
const HASHED_BLOCKS = 256

/**
 * Opens a kept snapshot of the copy in `directory` and the tree at `data` it describes; null when nothing is kept. Later captures and applies
 * replace what is kept, not what this reader has. Rejects MANIFEST_INVALID when what is kept is damaged.
 */
export async function openReader(
  options: ReaderOptions & { readonly directory: string; readonly kind: KeptKind },
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
  readonly memory: Recycler
  /** What is read counts by its hash alone, which the receiver checks; the files' times do not. */
  readonly inUse?: boolean
}

/** Reads a tree of this disk as it stands. */
export class DiskReader implements TreeReader {
  readonly #manifest: Manifest
  readonly #lists: BlockLists
  readonly #listsFile: FileHandle | null
  readonly #root: number
  readonly #volume: string
  readonly #pool: BlockPool
  readonly #memory: Recycler
  readonly #inUse: boolean
  readonly #stat = new StatBuffer()
  /** Reads under way. */
  #users = 0
  #closing: (() => void) | undefined
  #closed = false

  static async open(tree: KeptTree, options: ReaderOptions): Promise<DiskReader> {
    const lists = await openIfThere(tree.lists.path)
    try {
      return new DiskReader(tree, openRoot(options.data), lists, options)
    } catch (error) {
      await lists?.close()
      throw error
    }
  }

  private constructor(
    { manifest, lists }: KeptTree,
    root: number,
    listsFile: FileHandle | null,
    { volume, pool, memory, inUse = false }: ReaderOptions,
  ) {
    this.#manifest = manifest
    this.#listsFile = listsFile
    // It is opened by its path time and again: this file stays, whatever has its name by then.
    this.#lists = listsFile === null ? lists : new ListFile(manifest, self(listsFile.fd))
    this.#root = root
    this.#volume = volume
    this.#pool = pool
    this.#memory = memory
    this.#inUse = inUse
  }

  /** The block hashes of a large file; null when they are not there or damaged. */
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
    const files = this.#smallFiles(indexes)
    using _ = this.#use()
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

  #smallFiles(indexes: readonly number[]): FileEntry[] {
    let bytes = 0
    const files = indexes.map((index) => {
      const file = this.#file(index)
      bytes += file.sizeBytes
      if (!isSmall(file.sizeBytes)) throw badRequest(`Entry ${index} is no small file.`)
      return file
    })
    if (files.length === 0 || files.length > FILES_MAX || bytes > FILES_MAX_BYTES) {
      throw badRequest(`${files.length} files of ${bytes} bytes cannot be asked for in one go.`)
    }
    return files
  }

  /** Files of one directory; `first`: position of the first among all that were asked for. */
  async #filesOf(
    directory: BytePath,
    files: readonly FileEntry[],
    first: number,
  ): Promise<{ data: Buffer; changed: number[] }> {
    const fd = this.#openDirectory(directory)
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
        const same = outcomes[nth] === 0 && this.#isSame(fd, nameOf(file.path), file)
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
    const file = this.#largeFile(index)
    using _ = this.#use()
    const list = (await this.#lists.list(index)) ?? (await this.#hashAnew(file))
    for (let at = 0; at < list.length; at += PIECE_BYTES) yield list.subarray(at, at + PIECE_BYTES)
  }

  /** The list was not kept, or is damaged: the file still has it. */
  async #hashAnew(file: FileEntry): Promise<Buffer> {
    const fd = this.#open(file)
    try {
      const blocks = blockCountOf(file.sizeBytes)
      const parts: Buffer[] = []
      for (let first = 0; first < blocks; first += HASHED_BLOCKS) {
        const count = Math.min(HASHED_BLOCKS, blocks - first)
        parts.push(await this.#pool.hashBlocks(fd, file.sizeBytes, first, count).catch(namedAs(file)))
      }
      const list = Buffer.concat(parts, blocks * HASH_BYTES)
      if (!hashOfList(list).equals(file.hash)) throw this.#changed(file)
      return list
    } finally {
      closeSync(fd)
    }
  }

  async *blocks({ index, first, count }: BlockRun): AsyncGenerator<Piece> {
    const file = this.#largeFile(index)
    const blockBytes = blockBytesOf(file.sizeBytes)
    const whole = Number.isSafeInteger(first) && Number.isSafeInteger(count) && first >= 0 && count > 0
    if (!whole || first + count > blockCountOf(file.sizeBytes) || count * blockBytes > RUN_MAX_BYTES) {
      throw badRequest(`Entry ${index} has no run of ${count} blocks from block ${first} on.`)
    }
    using _ = this.#use()
    const fd = this.#open(file)
    try {
      const start = first * blockBytes
      try {
        yield* pieces(this.#memory, fd, start, Math.min(start + count * blockBytes, file.sizeBytes))
      } catch (error) {
        throw failureOf(printable(file.path), error)
      }
      if (!this.#isSame(fd, '', file)) throw this.#changed(file)
    } finally {
      closeSync(fd)
    }
  }

  /** REQUEST_INVALID when an index is no regular file's. */
  #file(index: number): FileEntry {
    const manifest = this.#manifest
    const known = !this.#closed && Number.isSafeInteger(index) && index >= 0 && index < manifest.count
    const entry = known ? manifest.entry(index) : undefined
    if (entry?.kind !== 'file') throw badRequest(`Entry ${index} is no file.`)
    return entry
  }

  #largeFile(index: number): FileEntry {
    const file = this.#file(index)
    if (isSmall(file.sizeBytes)) throw badRequest(`Entry ${index} is a small file.`)
    return file
  }

  /** Opens a larger file; TREE_CHANGED when it is not what the manifest says. */
  #open(file: FileEntry): number {
    const directory = this.#openDirectory(parentOf(file.path))
    if (directory === null) throw this.#changed(file)
    let fd: number
    try {
      fd = openAt(directory, nameOf(file.path), OPEN_FLAGS)
    } catch (error) {
      if (movedAway(error)) throw this.#changed(file, error)
      throw error
    } finally {
      closeSync(directory)
    }
    if (this.#isSame(fd, '', file)) return fd
    closeSync(fd)
    throw this.#changed(file)
  }

  /** Opens a directory of the tree as a place; null when it is not there any more. */
  #openDirectory(path: BytePath): number | null {
    let fd = openDirectory(this.#root, '.')
    for (const name of path === '' ? [] : path.split('/')) {
      const parent = fd
      try {
        fd = openDirectory(parent, name)
      } catch (error) {
        if (movedAway(error)) return null
        throw error
      } finally {
        closeSync(parent)
      }
    }
    return fd
  }

  /** Whether what has this name in a held directory ('': what is held) is the manifest's file still, as far as its inode tells. */
  #isSame(fd: number, name: BytePath, file: FileEntry): boolean {
    const stat = this.#stat
    if (name === '') statAt(fd, '', stat)
    else if (!lookAgain(fd, name, stat)) return false
    if (stat.kind !== 'file' || this.#inUse) return stat.kind === 'file'
    return stat.sizeBytes === file.sizeBytes && stat.mtimeNs() === file.mtimeNs
  }

  #changed(file: FileEntry, cause?: unknown): WherryError {
    const what = `${printable(file.path)} in volume ${this.#volume} is not what the manifest says any more.`
    return new WherryError('TREE_CHANGED', what, { hint: 'The volume was written to since; ask for it again.', cause })
  }

  /** Counts a read as under way until disposed. */
  #use(): Disposable {
    this.#users++
    return {
      [Symbol.dispose]: () => {
        this.#users--
        if (this.#users === 0) this.#closing?.()
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#users > 0) await new Promise<void>((resolve) => (this.#closing = resolve))
    closeSync(this.#root)
    await this.#listsFile?.close()
  }
}

/** Opens a file of ours for reading; null when it is not there. */
export async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
}

/** A disk that fails is told as such: what cannot be read has not changed, and asking again does not help. */
function refuseUnreadable(file: FileEntry, outcome: number): void {
  if (isDiskFailure(errnoName(outcome))) throw new SystemCallError('read', printable(file.path), errnoName(outcome))
}

function namedAs(file: FileEntry): (error: unknown) => never {
  return (error) => {
    throw failureOf(printable(file.path), error)
  }
}

function badRequest(what: string): WherryError {
  return new WherryError('REQUEST_INVALID', what, { hint: 'Use the same version of Wherry on all hosts.' })
}
