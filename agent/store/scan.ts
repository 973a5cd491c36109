import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { ContentHash, hashOf, SMALL_FILE_BYTES } from './content.ts'
import { at, openDirectory, self } from './directory.ts'
import { type Entry, hashedLine, type InodeEntry } from './entry.ts'
import { attributesOf, kindOf, lstat, readTarget, sameState, splitDevice } from './inode.ts'
import { MAX_ENTRIES, MAX_LINE_BYTES } from './manifest.ts'
import { Pace } from './pace.ts'
import { type BytePath, joinPath, MAX_DEPTH, printable } from './path.ts'

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOATIME } = constants
/** st_blocks counts units of 512 bytes whatever the file system's block size (stat(2)). */
const STAT_BLOCK_BYTES = 512n

/** What this disk knows of an entry beyond the manifest; never leaves the host. */
export interface Seen {
  readonly ino: bigint
  readonly ctimeNs: bigint
  /** The state behind ctime is final: any later store gives another ctime. */
  readonly clean: boolean
}

export interface Scan {
  readonly entries: readonly Entry[]
  /** Per entry; null for further names of an inode. */
  readonly seen: readonly (Seen | null)[]
  readonly filesRead: number
  readonly bytesRead: number
  /** False: the signal cut it off; what was seen until then stands. Only a look that is not quiet ends so. */
  readonly complete: boolean
}

export interface ScanOptions {
  /** The volume's name, for messages. */
  readonly volume: string
  /** True: whatever changes or vanishes meanwhile rejects TREE_CHANGED. False: it is left out or fuzzy, and not clean. */
  readonly quiet: boolean
  /** T of the syncfs-and-T rule: ctimes from here on may still hide a store. */
  readonly tickNs: bigint
  /** The entry as it was when last seen, if `stat` proves that it did not change since. */
  readonly unchanged: (path: BytePath, stat: BigIntStats) => InodeEntry | undefined
  /** The content hash of a file when the caller knows it for sure (it has just put the file there). */
  readonly hashOf?: (path: BytePath, stat: BigIntStats) => string | undefined
  readonly signal: AbortSignal
}

/**
 * Walks the tree under the held directory `root` and describes every entry, in tree order. Rejects TREE_UNSUPPORTED for
 * what a manifest cannot say, TREE_CHANGED (quiet only), and what the disk answers.
 */
export async function scanTree(root: number, options: ScanOptions): Promise<Scan> {
  const scanner = new Scanner(root, options)
  try {
    await scanner.directory(root, '', 0)
    scanner.complete = true
  } catch (error) {
    if (options.quiet || !options.signal.aborted) throw error
  }
  return scanner
}

class Scanner implements Scan {
  readonly entries: Entry[] = []
  readonly seen: (Seen | null)[] = []
  filesRead = 0
  bytesRead = 0
  complete = false
  readonly #options: ScanOptions
  readonly #device: bigint
  readonly #pace = new Pace()
  /** First path of each inode with several names. */
  readonly #firstNames = new Map<bigint, BytePath>()

  constructor(root: number, options: ScanOptions) {
    this.#options = options
    this.#device = fstatSync(root, { bigint: true }).dev
  }

  async directory(fd: number, path: BytePath, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) throw this.#unsupported(path, 'lies too deep')
    const before = lstat(at(fd, '.'))
    if (before.dev !== this.#device) throw this.#unsupported(path, 'is another file system (a mount or a subvolume)')
    const index = this.entries.length
    this.#add(this.#options.unchanged(path, before) ?? { kind: 'dir', path, ...attributesOf(at(fd, '.'), before) })
    this.seen.push(null)
    const names = await readdir(self(fd), { encoding: 'latin1' })
    for (const name of names.sort()) {
      this.#options.signal.throwIfAborted()
      await this.#child(fd, joinPath(path, name), name, depth + 1)
      if (this.#pace.due()) await this.#pace.rest()
    }
    this.seen[index] = this.#settle(path, before, lstat(at(fd, '.')))
  }

  async #child(parent: number, path: BytePath, name: BytePath, depth: number): Promise<void> {
    const place = at(parent, name)
    try {
      const stat = lstat(place)
      if (kindOf(stat) === 'dir') return await this.#subdirectory(parent, path, name, depth)
      const first = stat.nlink > 1n ? this.#firstNames.get(stat.ino) : undefined
      if (first !== undefined) {
        this.#add({ kind: 'link', path, to: first })
        this.seen.push(null)
        return
      }
      const entry = this.#options.unchanged(path, stat) ?? (await this.#describe(place, path, stat))
      const seen = this.#settle(path, stat, lstat(place))
      this.#add(entry)
      this.seen.push(seen)
      if (stat.nlink > 1n) this.#firstNames.set(stat.ino, path)
    } catch (error) {
      if (!movedAway(error)) throw error
      if (this.#options.quiet) throw this.#changed(path)
    }
  }

  async #subdirectory(parent: number, path: BytePath, name: BytePath, depth: number): Promise<void> {
    const fd = openDirectory(parent, name)
    try {
      await this.directory(fd, path, depth)
    } finally {
      closeSync(fd)
    }
  }

  async #describe(place: Buffer, path: BytePath, stat: BigIntStats): Promise<InodeEntry> {
    const kind = kindOf(stat)
    if (kind === null) throw this.#unsupported(path, 'is of an unknown kind')
    const node = { path, ...attributesOf(place, stat) }
    if (kind === 'file') return await this.#file(place, stat, node)
    if (kind === 'symlink') return { kind, ...node, target: readTarget(place) }
    if (kind === 'char' || kind === 'block') return { kind, ...node, ...splitDevice(stat.rdev) }
    return { kind, ...node }
  }

  async #file(place: Buffer, stat: BigIntStats, node: Omit<InodeEntry, 'kind'>): Promise<InodeEntry> {
    const sizeBytes = Number(stat.size)
    const hash = this.#options.hashOf?.(node.path, stat) ?? (await this.#read(place, sizeBytes))
    const allocatedBytes = Number(stat.blocks * STAT_BLOCK_BYTES)
    const file = { kind: 'file', ...node, sizeBytes, hash } as const
    return allocatedBytes < sizeBytes ? { ...file, allocatedBytes } : file
  }

  async #read(place: Buffer, sizeBytes: number): Promise<string> {
    const fd = openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME)
    try {
      this.filesRead += 1
      this.bytesRead += sizeBytes
      if (sizeBytes <= SMALL_FILE_BYTES) {
        // Zeroed: a file that became shorter reads as one with a hole, like a large one below.
        const data = Buffer.alloc(sizeBytes)
        readSync(fd, data, 0, sizeBytes, 0)
        return hashOf(data)
      }
      const hash = new ContentHash(this.#options.signal)
      await hash.read(fd, sizeBytes)
      return hash.digest()
    } finally {
      closeSync(fd)
    }
  }

  #settle(path: BytePath, before: BigIntStats, after: BigIntStats): Seen {
    const same = sameState(before, after)
    if (!same && this.#options.quiet) throw this.#changed(path)
    return { ino: before.ino, ctimeNs: before.ctimeNs, clean: same && before.ctimeNs < this.#options.tickNs }
  }

  #add(entry: Entry): void {
    if (this.entries.length >= MAX_ENTRIES) throw this.#unsupported(entry.path, 'is one entry too many')
    const xattrs = entry.kind === 'link' ? 0 : entry.xattrs.length
    if (xattrs > 0 && hashedLine(entry).length > MAX_LINE_BYTES / 2) {
      throw this.#unsupported(entry.path, 'has too many extended attributes')
    }
    this.entries.push(entry)
  }

  #changed(path: BytePath): WherryError {
    const what = `${printable(path)} in volume ${this.#options.volume} changed while it was read.`
    return new WherryError('TREE_CHANGED', what, {
      hint: 'Something still writes to the volume; stop it, then try again.',
    })
  }

  #unsupported(path: BytePath, what: string): WherryError {
    const where = `${printable(path)} in volume ${this.#options.volume}`
    return new WherryError('TREE_UNSUPPORTED', `${where} ${what}, which Wherry cannot move.`, {
      hint: 'Remove it from the volume.',
    })
  }
}

/** The name vanished or became another kind of thing between two calls. */
function movedAway(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'ESTALE'].includes(errnoOf(error) ?? '')
}
