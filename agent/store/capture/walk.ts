import { fileSystemOf } from '../../sys/file-system.ts'
import { NS_PER_SECOND, STAT_BLOCK_BYTES, StatBuffer, statAt } from '../../sys/stat.ts'
import { isSmall } from '../blocks.ts'
import { HeldDirectory, openDirectory } from '../inode/directory.ts'
import { describeAt, type InodeBody, movedAway, type State, sameState, stateOf } from '../inode/inode.ts'
import { XATTRS_MAX_BYTES } from '../manifest/record-codec.ts'
import { Pace } from '../pace.ts'
import { type BytePath, joinPath, MAX_DEPTH } from '../path.ts'
import type { BlockPool } from '../pool/contract.ts'
import type { KeptTree, Known } from '../snapshot/kept.ts'
import type { FileChanges } from '../tracker/contract.ts'
import { KeptCursor } from './cursor.ts'
import type { Keeping } from './keeping.ts'
import type { Former } from './large-files.ts'
import { namesIn } from './names.ts'
import { FileReading, type Place } from './reading.ts'
import { changed, unsupported } from './refusals.ts'
import type { KnownContent, SnapshotBuilder } from './snapshot-builder.ts'

/** Lengths of name and value beside an extended attribute. */
const XATTR_HEAD_BYTES = 5

export interface WalkOptions {
  /** The volume's name, for messages. */
  readonly volume: string
  /** True: whatever changes or vanishes meanwhile rejects TREE_CHANGED. False: it is left out or fuzzy, and not clean. */
  readonly quiet: boolean
  /** T of the syncfs-and-T rule: ctimes from here on may still hide a store. */
  readonly tickNs: bigint
  /** What is kept of the tree; entries that are proven not to have changed since are taken from there. */
  readonly known: Known | null
  readonly pool: BlockPool
  readonly signal: AbortSignal
  readonly content?: (path: BytePath, ino: bigint, sizeBytes: number) => KnownContent | undefined
  /** What changed in a large file since it was seen as it stands in a kept tree; null: nobody knows. */
  readonly changes?: ((tree: KeptTree, ino: bigint) => FileChanges) | undefined
  /** Whether what is read is to be exact as of the mark before the sync: each file that is read has its pages cleaned first. */
  readonly marked?: boolean
  /** So many blocks of large files that nobody is known to have written to are read all the same, see Scan.suspects. */
  readonly auditBlocks?: number
  /** Only with `quiet`: what is read is kept, or left to be read later. */
  readonly keeping?: Keeping | null
}

/** One walk through a tree, see scanTree. */
export class Walk {
  readonly reading: FileReading
  readonly #options: WalkOptions
  readonly #out: SnapshotBuilder
  readonly #cursors: readonly KeptCursor[]
  readonly #pace = new Pace()
  readonly #stat = new StatBuffer()
  readonly #again = new StatBuffer()
  /** Index of the first name of each inode with several. */
  readonly #firstNames = new Map<bigint, number>()
  readonly #device: readonly [number, number]
  readonly #nocow: boolean
  readonly #tickSeconds: number
  readonly #tickRestNs: number

  constructor(root: number, options: WalkOptions, out: SnapshotBuilder) {
    this.#options = options
    this.#out = out
    const { live, last } = options.known ?? { live: null, last: null }
    // A live look may have been cut off: what it lacks is looked for in the last one.
    this.#cursors = [live, last].flatMap((tree) => (tree === null ? [] : [new KeptCursor(tree)]))
    statAt(root, '', this.#stat)
    this.#device = [this.#stat.devMajor, this.#stat.devMinor]
    this.#nocow = fileSystemOf(root) === 'btrfs'
    this.#tickSeconds = Number(options.tickNs / NS_PER_SECOND)
    this.#tickRestNs = Number(options.tickNs % NS_PER_SECOND)
    const refuse = (directory: BytePath, name: BytePath) => changed(this.#options.volume, joinPath(directory, name))
    this.reading = new FileReading(out, {
      pool: options.pool,
      signal: options.signal,
      changed: options.quiet ? refuse : null,
      isFinal: (state) => this.#isFinal(state),
      marked: options.marked ?? false,
      auditBlocks: options.auditBlocks ?? 0,
      keeping: options.keeping ?? null,
    })
  }

  /** False: cut off by the signal. */
  async run(root: number): Promise<boolean> {
    let complete = false
    try {
      // The root is the caller's to close: it is never released.
      await this.#directory({ held: new HeldDirectory(root), path: '', batch: [], batchBytes: 0 }, '', 0)
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
    const { fd } = place.held
    statAt(fd, '', this.#stat)
    if (this.#stat.devMajor !== this.#device[0] || this.#stat.devMinor !== this.#device[1]) {
      throw unsupported(this.#options.volume, place.path, 'is another file system (a mount or a subvolume)')
    }
    const before = stateOf(this.#stat)
    const index = this.#out.count
    const kept = this.#keep(depth, name)
    if (!kept) this.#out.add(depth, name, this.#describe(fd, '', place.path), this.#stat, false)
    try {
      await this.#children(place, before.sizeBytes, depth + 1)
    } finally {
      this.reading.abandon(place)
    }
    statAt(fd, '', this.#again)
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

  /** Adds one entry of a directory; answers a promise when there is something to wait for. */
  #child(place: Place, name: BytePath, depth: number): Promise<void> | undefined {
    const stat = this.#stat
    try {
      statAt(place.held.fd, name, stat)
      if (depth > MAX_DEPTH) throw unsupported(this.#options.volume, joinPath(place.path, name), 'lies too deep')
      if (stat.kind === 'dir') return this.#subdirectory(place, name, depth)
      if (stat.nlink > 1 && this.#link(place, name, depth)) return undefined
      if (stat.kind === 'file' && !isSmall(stat.sizeBytes)) return this.#largeFile(place, name, depth)
      return this.#keep(depth, name) ? undefined : this.#anew(place, name, depth)
    } catch (error) {
      this.#passOver(error, place, name)
      return undefined
    }
  }

  async #subdirectory(place: Place, name: BytePath, depth: number): Promise<void> {
    let held: HeldDirectory | undefined
    try {
      held = new HeldDirectory(openDirectory(place.held.fd, name))
      await this.#directory({ held, path: joinPath(place.path, name), batch: [], batchBytes: 0 }, name, depth)
    } catch (error) {
      this.#passOver(error, place, name)
    } finally {
      held?.release()
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

  /** Takes the entry at the walk's place from a kept tree if it is proven to be the same. Not for large files. */
  #keep(depth: number, name: BytePath): boolean {
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      if (index < 0 || !cursor.proves(index, this.#stat)) continue
      this.#firstName(this.#out.count)
      this.#out.keep(cursor.tree, index, null)
      return true
    }
    return false
  }

  async #largeFile(place: Place, name: BytePath, depth: number): Promise<void> {
    let former: Former | null = null
    for (const cursor of this.#cursors) {
      const index = cursor.find(depth, name)
      if (index < 0) continue
      const found = this.#former(cursor.tree, index)
      // Whoever knows of a write is right, whatever the ctime says.
      const isKnownWritten = found.changes === 'all' || (found.changes?.length ?? 0) > 0
      if (!isKnownWritten && cursor.proves(index, this.#stat)) {
        const soon = cursor.tree.lists.listSoon(index)
        const list = soon instanceof Promise ? await soon : soon
        // Without its list a file would be sent whole after the smallest change: reading it costs less.
        if (list !== null) {
          this.#firstName(this.#out.count)
          this.#out.keep(cursor.tree, index, list)
          return
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
    const body = this.#describe(fd, name, joinPath(place.path, name))
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

  /** `name` '' is the held directory itself. */
  #describe(fd: number, name: BytePath, path: BytePath): InodeBody {
    const body = describeAt(fd, name, this.#stat, this.#nocow)
    if (body === null) throw unsupported(this.#options.volume, path, 'is of an unknown kind')
    if (body.xattrs.length === 0) return body
    const bytes = body.xattrs.reduce((sum, [key, value]) => sum + XATTR_HEAD_BYTES + key.length + value.length, 0)
    if (bytes > XATTRS_MAX_BYTES) throw unsupported(this.#options.volume, path, 'has too many extended attributes')
    return body
  }

  /** What vanished is passed over when the tree is in use. */
  #passOver(error: unknown, place: Place, name: BytePath): void {
    if (!movedAway(error)) throw error
    if (this.#options.quiet) throw changed(this.#options.volume, joinPath(place.path, name))
  }

  #requireRoom(place: Place, name: BytePath): void {
    if (this.#out.full) throw unsupported(this.#options.volume, joinPath(place.path, name), 'is one entry too many')
  }
}
