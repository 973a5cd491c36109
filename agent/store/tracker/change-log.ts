import type { Cursor, FileChanges } from './contract.ts'

export const TRACKED_BLOCK_BYTES = 16_384
/** Block number that means "anything in this file". */
export const WHOLE_FILE = -1
/** With half a gigabyte changed block by block, a list does not pay. */
const FILE_BLOCKS_MAX = 32_768
/** About 40 MB of memory. */
const ALL_BLOCKS_MAX = 524_288

interface FileLog {
  readonly owners: Set<string>
  /** The first cut since when everything is known; a release moves it up. */
  knownSince: Cursor
  /** The newest cut with an event that concerns the whole file; 0: none. */
  wholeAt: Cursor
  /** Block number -> the newest cut that found it dirtied. */
  readonly blocks: Map<number, Cursor>
}

interface Owner {
  inodes: ReadonlySet<bigint>
  released: Cursor
}

/** What the cuts found, by file. Bookkeeping only, without the kernel. */
export class ChangeLog {
  readonly #files = new Map<bigint, FileLog>()
  readonly #owners = new Map<string, Owner>()
  /** Files with something to forget. */
  readonly #touched = new Set<FileLog>()
  readonly #limits: { readonly file: number; readonly all: number }
  #cursor: Cursor = 0
  #lostAt: Cursor = 0
  keptBlocks = 0

  constructor(limits = { file: FILE_BLOCKS_MAX, all: ALL_BLOCKS_MAX }) {
    this.#limits = limits
  }

  get watchedInodes(): number {
    return this.#files.size
  }

  /**
   * Replaces the inodes that an owner watches.
   * Returns which are watched for the first time, to be passed to `added`, and which no owner watches any more.
   */
  watch(owner: string, wanted: ReadonlySet<bigint>): { fresh: bigint[]; given: bigint[] } {
    const known = this.#owners.get(owner)
    const given: bigint[] = []
    for (const inode of known?.inodes ?? []) {
      if (!wanted.has(inode) && this.#leave(owner, inode)) given.push(inode)
    }
    const fresh: bigint[] = []
    for (const inode of wanted) {
      const file = this.#files.get(inode)
      if (file === undefined) fresh.push(inode)
      else file.owners.add(owner)
    }
    if (known === undefined) this.#owners.set(owner, { inodes: wanted, released: 0 })
    else known.inodes = wanted
    return { fresh, given }
  }

  forget(owner: string): bigint[] {
    const { given } = this.watch(owner, new Set())
    this.#owners.delete(owner)
    return given
  }

  /** Starts to watch these: what the next cut finds of them may lack earlier events. */
  added(owner: string, inodes: readonly bigint[]): void {
    for (const inode of inodes) {
      const file = { owners: new Set([owner]), knownSince: this.#cursor + 1, wholeAt: 0, blocks: new Map() }
      this.#files.set(inode, file)
    }
  }

  /** Begins a new cut; what is noted from now on belongs to it. */
  nextCut(): Cursor {
    this.#cursor += 1
    return this.#cursor
  }

  /** Notes a block, or WHOLE_FILE; ignores inodes that are not watched. */
  note(inode: bigint, block: number): void {
    const file = this.#files.get(inode)
    if (file === undefined) return
    this.#touched.add(file)
    if (block === WHOLE_FILE) {
      this.#makeWhole(file)
      return
    }
    // An older 'all' still holds for queries from before it.
    const before = file.blocks.size
    file.blocks.set(block, this.#cursor)
    this.keptBlocks += file.blocks.size - before
    if (file.blocks.size > this.#limits.file || this.keptBlocks > this.#limits.all) this.#makeWhole(file)
  }

  /** Events up to the present cut are missing: nothing before it is known any more. */
  lose(): void {
    this.#lostAt = this.#cursor
    for (const file of this.#touched) this.#clear(file)
    this.#touched.clear()
  }

  /** Whether no event after a cut is missing. */
  isWhole(since: Cursor): boolean {
    return since > 0 && since >= this.#lostAt && since <= this.#cursor
  }

  changes(inode: bigint, since: Cursor): FileChanges {
    const file = this.#files.get(inode)
    if (file === undefined || since < file.knownSince || !this.isWhole(since)) return null
    if (file.wholeAt > since) return 'all'
    const blocks = [...file.blocks].filter(([, at]) => at > since).map(([block]) => block)
    return rangesOf(blocks.sort((a, b) => a - b))
  }

  release(owner: string, upTo: Cursor): void {
    const known = this.#owners.get(owner)
    if (known === undefined || upTo <= known.released) return
    known.released = Math.min(upTo, this.#cursor)
    for (const file of this.#touched) {
      if (!file.owners.has(owner)) continue
      const floor = Math.min(...[...file.owners].map((name) => this.#owners.get(name)?.released ?? 0))
      this.#prune(file, floor)
    }
  }

  #prune(file: FileLog, floor: Cursor): void {
    const before = file.blocks.size
    for (const [block, at] of file.blocks) if (at <= floor) file.blocks.delete(block)
    this.keptBlocks -= before - file.blocks.size
    if (file.wholeAt <= floor) file.wholeAt = 0
    file.knownSince = Math.max(file.knownSince, floor)
    if (file.blocks.size === 0 && file.wholeAt === 0) this.#touched.delete(file)
  }

  #makeWhole(file: FileLog): void {
    this.#clear(file)
    file.wholeAt = this.#cursor
  }

  #clear(file: FileLog): void {
    this.keptBlocks -= file.blocks.size
    file.blocks.clear()
    file.wholeAt = 0
  }

  /** Whether no owner watches the inode any more. */
  #leave(owner: string, inode: bigint): boolean {
    const file = this.#files.get(inode)
    if (file === undefined) return false
    file.owners.delete(owner)
    if (file.owners.size > 0) return false
    this.#clear(file)
    this.#touched.delete(file)
    this.#files.delete(inode)
    return true
  }
}

function rangesOf(blocks: readonly number[]): { offset: number; length: number }[] {
  const ranges: { offset: number; length: number }[] = []
  for (const block of blocks) {
    const offset = block * TRACKED_BLOCK_BYTES
    const last = ranges.at(-1)
    if (last !== undefined && last.offset + last.length === offset) last.length += TRACKED_BLOCK_BYTES
    else ranges.push({ offset, length: TRACKED_BLOCK_BYTES })
  }
  return ranges
}
