import { YieldLoop } from '../../runtime/yield-loop.ts'
import { fileSystemOf } from '../../sys/file-system.ts'
import { NS_PER_SECOND, STAT_BLOCK_BYTES, StatBuffer, statAt } from '../../sys/stat.ts'
import { isSmall } from '../blocks/block-size.ts'
import type { UnchangedSubtrees } from '../changes/unchanged-subtrees.ts'
import { type InodeBody, movedAway, type State, sameState, stateOf } from '../inode/inode.ts'
import { Levels } from '../inode/levels.ts'
import { type BytePath, joinPath, MAX_DEPTH } from '../manifest/byte-path.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import { BlockAudit, type Suspect } from './audit-blocks.ts'
import { FileAudit } from './audit-files.ts'
import { EntryDescriber } from './describe-entry.ts'
import { changed, unsupported } from './errors.ts'
import { FileHasher } from './file-hasher.ts'
import type { Former } from './large-file-hasher.ts'
import { namesIn } from './read-directory.ts'
import { SnapshotCursor } from './snapshot-cursor.ts'
import type { WalkOptions } from './walk-options.ts'
import type { Place } from './walk-position.ts'

/** Levels of a tree that call each other without a pause. */
const CALLS_MAX = 64

/** A directory with its index in the tree that stood still. */
interface StillDirectory {
  readonly still: UnchangedSubtrees
  readonly index: number
}

/** One walk through a tree, see scanTree. */
export class Walk {
  readonly reading: FileHasher
  readonly #options: WalkOptions
  readonly #out: SnapshotBuilder
  readonly #cursors: readonly SnapshotCursor[]
  readonly #audit: BlockAudit
  readonly #untouched: FileAudit
  readonly #pace = new YieldLoop()
  readonly #stat = new StatBuffer()
  readonly #again = new StatBuffer()
  /** Index of the first name of each inode with several. */
  readonly #firstNames = new Map<bigint, number>()
  readonly #levels: Levels
  readonly #device: readonly [number, number]
  readonly #describer: EntryDescriber
  readonly #tickSeconds: number
  readonly #tickRestNs: number

  constructor(root: number, options: WalkOptions, out: SnapshotBuilder) {
    this.#options = options
    this.#out = out
    const { live, last } = options.known ?? { live: null, last: null }
    // A live look may have been cut off: what it lacks is looked for in the last one.
    const trees = [live, last].filter((tree) => tree !== null)
    this.#cursors = trees.map((tree) => new SnapshotCursor(tree, options.touched?.(tree) ?? null))
    this.#levels = new Levels(root)
    statAt(root, '', this.#stat)
    this.#device = [this.#stat.devMajor, this.#stat.devMinor]
    this.#describer = new EntryDescriber(options.volume, fileSystemOf(root) === 'btrfs')
    this.#tickSeconds = Number(options.tickNs / NS_PER_SECOND)
    this.#tickRestNs = Number(options.tickNs % NS_PER_SECOND)
    const refuse = (directory: BytePath, name: BytePath) => changed(this.#options.volume, joinPath(directory, name))
    const { pool, audit = { blocks: 0, files: 0 } } = options
    this.#audit = new BlockAudit(audit.blocks)
    this.reading = new FileHasher(out, {
      pool,
      signal: options.signal,
      changed: options.quiet ? refuse : null,
      isFinal: (state) => this.#isFinal(state),
      marked: options.marked ?? false,
      audit: this.#audit,
      keeping: options.keeping ?? null,
      keepingBlocks: options.keepingBlocks ?? null,
    })
    this.#untouched = new FileAudit(trees, audit.files, { pool, reading: this.reading, suspects: this.suspects })
  }

  /** See Scan. */
  get suspects(): Suspect[] {
    return this.#audit.suspects
  }

  /** False: cut off by the signal. */
  async run(): Promise<boolean> {
    let complete = false
    try {
      await this.#directory({ held: this.#levels.held, path: '', batch: [], batchBytes: 0 }, '', 0)
      complete = true
    } catch (error) {
      if (this.#options.quiet || !this.#options.signal.aborted) {
        await this.reading.finish().catch(() => {})
        throw error
      }
    }
    await this.reading.finish()
    if (this.#options.quiet) this.#options.signal.throwIfAborted()
    return complete && !this.#options.signal.aborted
  }

  async #directory(place: Place, name: BytePath, depth: number): Promise<void> {
    statAt(place.held.fd, '', this.#stat)
    if (this.#stat.devMajor !== this.#device[0] || this.#stat.devMinor !== this.#device[1]) {
      throw unsupported(this.#options.volume, place.path, 'is another file system (a mount or a subvolume)')
    }
    const before = stateOf(this.#stat)
    const index = this.#out.count
    const keptBy = this.#keep(depth, name)
    const kept = keptBy !== null
    const still = this.#stillAs(keptBy)
    if (!kept) this.#out.add(depth, name, this.#described(place), this.#stat, false)
    try {
      if (still !== null) await this.#stillChildren(place, still, depth + 1)
      else await this.#children(place, before.sizeBytes, depth + 1)
    } finally {
      this.reading.abandon(place)
    }
    statAt(place.held.fd, '', this.#again)
    const same = sameState(before, this.#again)
    if (!same && this.#options.quiet) throw changed(this.#options.volume, place.path)
    if (kept !== same) this.#out.setClean(index, same && this.#isFinal(before))
  }

  async #children(place: Place, sizeBytes: number, depth: number): Promise<void> {
    const { signal } = this.#options
    signal.throwIfAborted()
    for (const name of await namesIn(place.held.fd, sizeBytes)) {
      const wait = this.#child(place, name, depth)
      if (wait !== undefined) await wait
      if (!this.#pace.due()) continue
      await this.#pace.rest()
      signal.throwIfAborted()
    }
    await this.reading.flush(place)
  }

  #described(place: Place): InodeBody {
    return this.#describer.describe(place.held.fd, '', place.path, this.#stat)
  }

  /** A directory that was just found to be what it was, if the names in it are known to be so too. */
  #stillAs(by: SnapshotCursor | null): StillDirectory | null {
    const still = this.#options.still ?? null
    if (by === null || still === null || by.tree !== still.tree || !still.stood(by.index)) return null
    return { still, index: by.index }
  }

  /** As `#children`, where the names are those that they were: just what moved is looked at. */
  async #stillChildren(place: Place, { still, index: directory }: StillDirectory, depth: number): Promise<void> {
    const { manifest } = still.tree
    const end = manifest.subtreeEnd(directory)
    let first = directory + 1
    for (let index = first; index < end; ) {
      const next = manifest.subtreeEnd(index)
      if (!still.allStood(index)) {
        this.#out.keepRange(still.tree, first, index)
        await this.#child(place, manifest.name(index), depth)
        first = next
      }
      index = next
    }
    this.#out.keepRange(still.tree, first, end)
    await this.reading.flush(place)
  }

  /** Adds one entry of a directory; answers a promise when there is something to wait for. */
  #child(place: Place, name: BytePath, depth: number): Promise<void> | undefined {
    const stat = this.#stat
    try {
      statAt(place.held.fd, name, stat)
      if (depth > MAX_DEPTH) throw this.#tooDeep(place, name)
      if (stat.kind === 'dir') return this.#subdirectory(place, name, depth)
      if (stat.nlink > 1 && this.#link(place, name, depth)) return undefined
      if (stat.kind === 'file' && !isSmall(stat.sizeBytes)) return this.#largeFile(place, name, depth)
      const kept = this.#keep(depth, name)
      return kept === null ? this.#anew(place, name, depth) : this.#untouched.kept(place, name, kept, stat)
    } catch (error) {
      this.#passOver(error, place, name)
      return undefined
    }
  }

  async #subdirectory(place: Place, name: BytePath, depth: number): Promise<void> {
    let isWithin = false
    try {
      const held = this.#levels.enter(name)
      isWithin = true
      // Where nothing has to be waited for, one level calls the next: not so many that the stack overflows.
      if (depth % CALLS_MAX === 0) await null
      await this.#directory({ held, path: joinPath(place.path, name), batch: [], batchBytes: 0 }, name, depth)
    } catch (error) {
      this.#passOver(error, place, name)
    } finally {
      if (isWithin) place.held = this.#levels.leave()
    }
  }

  /** One more name of an inode that was there before; false: it is the first. */
  #link(place: Place, name: BytePath, depth: number): boolean {
    const first = this.#firstNames.get(this.#stat.ino)
    if (first === undefined) return false
    const base = this.#cursors[0]
    const known = base === undefined ? -1 : base.find(depth, name)
    const same = base !== undefined && known >= 0 && base.linkTarget(known) === first
    this.#requireRoom(place, name)
    this.#out.link(depth, name, first, same ? known : -1)
    return true
  }

  /** Takes the entry at the walk's place from a kept tree if it is proven to be the same; answers where it was found. Not for large files. */
  #keep(depth: number, name: BytePath): SnapshotCursor | null {
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      this.#auditState(cursor, index, name)
      // A write may have stood still between its ctime and its bytes.
      if (this.#stat.kind === 'file' && cursor.wasWritten(this.#stat)) return null
      if (index < 0 || !cursor.proves(index, this.#stat)) continue
      this.#firstName(this.#out.count)
      this.#out.keep(cursor.tree, index)
      return cursor
    }
    return null
  }

  /** The last look passes over what was not touched: here it shows whether that can be relied on. */
  #auditState(cursor: SnapshotCursor, index: number, name: BytePath): void {
    if (this.#options.audit === undefined || index < 0 || !cursor.isUntold(index, this.#stat)) return
    this.#audit.untold(name, this.#stat.ino, cursor.tree)
  }

  async #largeFile(place: Place, name: BytePath, depth: number): Promise<void> {
    let former: Former | null = null
    let wasWritten = false
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      if (index < 0) continue
      this.#auditState(cursor, index, name)
      const found = this.#former(cursor.tree, index)
      // Whoever knows of a write is right, whatever the ctime says.
      wasWritten ||= cursor.wasWritten(this.#stat)
      const isWritten = found.changes === null ? wasWritten : found.changes.length > 0
      if (!isWritten && cursor.proves(index, this.#stat)) {
        const there = cursor.tree.lists.isThere(index)
        // Without its list a file would be sent whole after the smallest change: reading it costs less.
        if (typeof there === 'boolean' ? there : await there) {
          this.#firstName(this.#out.count)
          this.#out.keep(cursor.tree, index)
          return await this.#untouched.kept(place, name, cursor, this.#stat)
        }
      }
      if (former === null || !Array.isArray(former.changes)) former = found
    }
    try {
      await this.#anew(place, name, depth, former)
    } catch (error) {
      this.#passOver(error, place, name)
    }
  }

  /** A large file as it is in a kept tree. What is known of another inode says nothing about this one. */
  #former(tree: KeptTree, index: number): Former {
    const { ino } = this.#stat
    const changes = tree.seen.ino(index) === ino ? (this.#options.changes?.(tree, ino) ?? null) : null
    return { tree, index, changes, ino }
  }

  /** Describes an entry that is new, or may have changed. `former`: a large file as it was. */
  #anew(place: Place, name: BytePath, depth: number, former: Former | null = null): Promise<void> | undefined {
    const { fd } = place.held
    const stat = this.#stat
    const body = this.#describer.describe(fd, name, joinPath(place.path, name), stat)
    this.#requireRoom(place, name)
    const state = stateOf(stat)
    const index = this.#out.count
    if (body.kind === 'file') {
      const content = this.#options.content?.(joinPath(place.path, name), stat.ino, body.sizeBytes)
      if (content === undefined) {
        const listOffset = this.#out.addUnread(depth, name, body, stat)
        this.#firstName(index)
        const file = { index, name, state }
        if (isSmall(body.sizeBytes)) return this.reading.small(place, file)
        const allocatedBytes = stat.blocks * STAT_BLOCK_BYTES
        return this.reading.large(place, { ...file, listOffset, former, allocatedBytes })
      }
      // Whoever knows the content for sure has the tree for itself: no second look.
      const clean = this.#isFinal(state)
      this.#out.addFile(depth, name, { ...body, hash: content.hash }, stat, clean, content)
    } else this.#out.add(depth, name, body, stat, this.#sameAgain(place, name, state))
    this.#firstName(index)
    return undefined
  }

  #firstName(index: number): void {
    if (this.#stat.nlink > 1 && this.#stat.kind !== 'dir') this.#firstNames.set(this.#stat.ino, index)
  }

  /** Looks at an entry again after it was described. True: it is the same, and final. */
  #sameAgain(place: Place, name: BytePath, state: State): boolean {
    statAt(place.held.fd, name, this.#again)
    const same = sameState(state, this.#again)
    if (!same && this.#options.quiet) throw changed(this.#options.volume, joinPath(place.path, name))
    return same && this.#isFinal(state)
  }

  #isFinal({ ctimeSeconds, ctimeRestNs }: State): boolean {
    return ctimeSeconds < this.#tickSeconds || (ctimeSeconds === this.#tickSeconds && ctimeRestNs < this.#tickRestNs)
  }

  /** What vanished is passed over when the tree is in use. */
  #passOver(error: unknown, place: Place, name: BytePath): void {
    if (!movedAway(error)) throw error
    if (this.#options.quiet) throw changed(this.#options.volume, joinPath(place.path, name))
  }

  #tooDeep(place: Place, name: BytePath): Error {
    const what = `lies more than ${MAX_DEPTH} levels deep`
    return unsupported(this.#options.volume, joinPath(place.path, name), what)
  }

  #requireRoom(place: Place, name: BytePath): void {
    if (this.#out.full) throw unsupported(this.#options.volume, joinPath(place.path, name), 'is one entry too many')
  }
}
