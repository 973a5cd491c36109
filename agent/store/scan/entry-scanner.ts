import { fileSystemOf } from '../../sys/file-system.ts'
import { NS_PER_SECOND, STAT_BLOCK_BYTES, StatBuffer, statAt } from '../../sys/stat.ts'
import { isSmall } from '../blocks/block-size.ts'
import { inodeState, movedAway, type State, sameState } from '../inode/inode.ts'
import { type BytePath, joinPath } from '../manifest/byte-path.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import { BlockAudit, type Suspect } from './audit-blocks.ts'
import { FileAudit } from './audit-files.ts'
import { EntryDescriber } from './describe-entry.ts'
import { changed } from './errors.ts'
import { FileHasher } from './file-hasher.ts'
import type { FormerFile } from './large-file-hasher.ts'
import { SnapshotCursor } from './snapshot-cursor.ts'
import type { WalkOptions } from './walk-options.ts'
import type { WalkPosition } from './walk-position.ts'

/** Adds entries to a snapshot, one after the other in tree order. */
export class EntryScanner {
  readonly hasher: FileHasher
  /** The entry that is to be added: the caller reads its state into this buffer first. */
  readonly stat = new StatBuffer()
  readonly #options: WalkOptions
  readonly #out: SnapshotBuilder
  readonly #cursors: readonly SnapshotCursor[]
  readonly #blockAudit: BlockAudit
  readonly #fileAudit: FileAudit
  readonly #again = new StatBuffer()
  /** Index of the first name of each inode with several. */
  readonly #firstNames = new Map<bigint, number>()
  readonly #describer: EntryDescriber
  readonly #tickSeconds: number
  readonly #tickRestNs: number

  constructor(root: number, options: WalkOptions, out: SnapshotBuilder) {
    this.#options = options
    this.#out = out
    const { live, last } = options.known ?? { live: null, last: null }
    // A live scan may have been cut off: what it lacks is looked up in the last quiet one.
    const trees = [live, last].filter((tree) => tree !== null)
    this.#cursors = trees.map((tree) => new SnapshotCursor(tree, options.touched?.(tree) ?? null))
    this.#describer = new EntryDescriber(options.volume, fileSystemOf(root) === 'btrfs')
    this.#tickSeconds = Number(options.tickNs / NS_PER_SECOND)
    this.#tickRestNs = Number(options.tickNs % NS_PER_SECOND)
    const refuse = (directory: BytePath, name: BytePath) => changed(options.volume, joinPath(directory, name))
    const { pool, audit = { blocks: 0, files: 0 } } = options
    this.#blockAudit = new BlockAudit(audit.blocks)
    this.hasher = new FileHasher(out, {
      pool,
      signal: options.signal,
      changed: options.quiet ? refuse : null,
      isFinal: (state) => this.isFinal(state),
      marked: options.marked ?? false,
      audit: this.#blockAudit,
      contentSink: options.contentSink ?? null,
      blockSink: options.blockSink ?? null,
    })
    this.#fileAudit = new FileAudit(trees, audit.files, { pool, hasher: this.hasher, suspects: this.suspects })
  }

  /** See Scan. */
  get suspects(): Suspect[] {
    return this.#blockAudit.suspects
  }

  /**
   * Adds a directory.
   * Returns the cursor of the saved tree it was taken from, null when it was described anew.
   */
  directory(place: WalkPosition, name: BytePath, depth: number): SnapshotCursor | null {
    const savedIn = this.#keep(depth, name)
    if (savedIn === null) {
      const body = this.#describer.describe(place.held.fd, '', place.path, this.stat)
      this.#out.add(depth, name, body, this.stat, false)
    }
    return savedIn
  }

  /**
   * Adds an entry of `place` that is no directory.
   * Returns a promise when there is something to wait for.
   */
  entry(place: WalkPosition, name: BytePath, depth: number): Promise<void> | undefined {
    const { stat } = this
    if (stat.nlink > 1 && this.#link(name, depth)) return undefined
    if (stat.kind === 'file' && !isSmall(stat.sizeBytes)) return this.#largeFile(place, name, depth)
    const savedIn = this.#keep(depth, name)
    return savedIn === null ? this.#anew(place, name, depth) : this.#fileAudit.kept(place, name, savedIn, stat)
  }

  /**
   * Takes over an entry from a saved tree if `stat` proves that it is the same.
   * Returns where it was found.
   * Not for large files.
   */
  #keep(depth: number, name: BytePath): SnapshotCursor | null {
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      this.#auditState(cursor, index, name)
      // A write may have been paused between its ctime and its bytes.
      if (this.stat.kind === 'file' && cursor.wasWritten(this.stat)) return null
      if (index < 0 || !cursor.proves(index, this.stat)) continue
      this.#firstName(this.#out.count)
      this.#out.keep(cursor.tree, index)
      return cursor
    }
    return null
  }

  /** Adds a further name of an inode that is in the snapshot already; false: it is the first name. */
  #link(name: BytePath, depth: number): boolean {
    const first = this.#firstNames.get(this.stat.ino)
    if (first === undefined) return false
    const base = this.#cursors[0]
    const known = base === undefined ? -1 : base.find(depth, name)
    const same = base !== undefined && known >= 0 && base.linkTarget(known) === first
    this.#out.link(depth, name, first, same ? known : -1)
    return true
  }

  async #largeFile(place: WalkPosition, name: BytePath, depth: number): Promise<void> {
    let former: FormerFile | null = null
    let wasWritten = false
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      if (index < 0) continue
      this.#auditState(cursor, index, name)
      const found = this.#former(cursor.tree, index)
      // A reported write counts, whatever the ctime says.
      wasWritten ||= cursor.wasWritten(this.stat)
      const isWritten = found.changes === null ? wasWritten : found.changes.length > 0
      if (!isWritten && cursor.proves(index, this.stat)) {
        const there = cursor.tree.lists.isThere(index)
        // Without its list the whole file would be sent after the smallest change: reading it costs less.
        if (typeof there === 'boolean' ? there : await there) {
          this.#firstName(this.#out.count)
          this.#out.keep(cursor.tree, index)
          return await this.#fileAudit.kept(place, name, cursor, this.stat)
        }
      }
      if (former === null || !Array.isArray(former.changes)) former = found
    }
    try {
      await this.#anew(place, name, depth, former)
    } catch (error) {
      this.passOver(error, place, name)
    }
  }

  /**
   * Returns a large file as it is in a saved tree.
   * What is known of another inode says nothing about this one.
   */
  #former(tree: SavedTree, index: number): FormerFile {
    const { ino } = this.stat
    const changes = tree.seen.ino(index) === ino ? (this.#options.changes?.(tree, ino) ?? null) : null
    return { tree, index, changes, ino }
  }

  /**
   * Describes an entry that is new or may have changed.
   * `former`: its saved state, if it is a large file.
   */
  #anew(
    place: WalkPosition,
    name: BytePath,
    depth: number,
    former: FormerFile | null = null,
  ): Promise<void> | undefined {
    const { fd } = place.held
    const stat = this.stat
    const body = this.#describer.describe(fd, name, joinPath(place.path, name), stat)
    const state = inodeState(stat)
    const index = this.#out.count
    if (body.kind === 'file') {
      const content = this.#options.content?.(joinPath(place.path, name), stat.ino, body.sizeBytes)
      if (content === undefined) {
        const listOffset = this.#out.addUnread(depth, name, body, stat)
        this.#firstName(index)
        const file = { index, name, state }
        if (isSmall(body.sizeBytes)) return this.hasher.small(place, file)
        const allocatedBytes = stat.blocks * STAT_BLOCK_BYTES
        return this.hasher.large(place, { ...file, listOffset, former, allocatedBytes })
      }
      // A caller that knows the content for sure has the tree for itself: no second stat.
      const clean = this.isFinal(state)
      this.#out.addFile(depth, name, { ...body, hash: content.hash }, stat, clean, content)
    } else this.#out.add(depth, name, body, stat, this.#sameAgain(place, name, state))
    this.#firstName(index)
    return undefined
  }

  #firstName(index: number): void {
    if (this.stat.nlink > 1 && this.stat.kind !== 'dir') this.#firstNames.set(this.stat.ino, index)
  }

  /** Reads an entry's state again after it was described. True: it is the same, and final. */
  #sameAgain(place: WalkPosition, name: BytePath, state: State): boolean {
    statAt(place.held.fd, name, this.#again)
    const same = sameState(state, this.#again)
    if (!same && this.#options.quiet) throw changed(this.#options.volume, joinPath(place.path, name))
    return same && this.isFinal(state)
  }

  isFinal({ ctimeSeconds, ctimeRestNs }: State): boolean {
    return ctimeSeconds < this.#tickSeconds || (ctimeSeconds === this.#tickSeconds && ctimeRestNs < this.#tickRestNs)
  }

  /** The last scan skips what was not touched. This check shows whether that can be relied on. */
  #auditState(cursor: SnapshotCursor, index: number, name: BytePath): void {
    if (this.#options.audit === undefined || index < 0 || !cursor.isUnreported(index, this.stat)) return
    this.#blockAudit.addUnreported(name, this.stat.ino, cursor.tree)
  }

  /**
   * Ignores entries that vanish from a tree in use.
   * Throws any other error, and TREE_CHANGED in a quiet scan.
   */
  passOver(error: unknown, place: WalkPosition, name: BytePath): void {
    if (!movedAway(error)) throw error
    if (this.#options.quiet) throw changed(this.#options.volume, joinPath(place.path, name))
  }
}
