import { YieldLoop } from '../../runtime/yield-loop.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import type { UnchangedSubtrees } from '../changes/unchanged-subtrees.ts'
import { inodeState, sameState } from '../inode/inode.ts'
import { Levels } from '../inode/levels.ts'
import { type BytePath, joinPath, MAX_DEPTH } from '../manifest/byte-path.ts'
import { TreeTooLarge } from '../manifest/format.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { Suspect } from './audit-blocks.ts'
import { EntryScanner } from './entry-scanner.ts'
import { changed, treeTooLarge, unsupported } from './errors.ts'
import type { FileHasher } from './file-hasher.ts'
import { readNames } from './read-directory.ts'
import type { SnapshotCursor } from './snapshot-cursor.ts'
import type { WalkOptions } from './walk-options.ts'
import type { WalkPosition } from './walk-position.ts'

/** Levels of a tree that call each other without a pause. */
const CALLS_MAX = 64

/** A directory with its index in the unchanged tree. */
interface UnchangedDirectory {
  readonly subtrees: UnchangedSubtrees
  readonly index: number
}

/** One walk through a tree, see scanTree. */
export class Walk {
  readonly #options: WalkOptions
  readonly #out: SnapshotBuilder
  readonly #entries: EntryScanner
  readonly #pace = new YieldLoop()
  readonly #again = new StatBuffer()
  readonly #levels: Levels
  readonly #device: readonly [number, number]

  constructor(root: number, options: WalkOptions, out: SnapshotBuilder) {
    this.#options = options
    this.#out = out
    this.#entries = new EntryScanner(root, options, out)
    this.#levels = new Levels(root)
    const { stat } = this.#entries
    statAt(root, '', stat)
    this.#device = [stat.devMajor, stat.devMinor]
  }

  get hasher(): FileHasher {
    return this.#entries.hasher
  }

  /** See Scan. */
  get suspects(): Suspect[] {
    return this.#entries.suspects
  }

  /** Returns false when the signal has cut it off. */
  async run(): Promise<boolean> {
    let complete = false
    try {
      await this.#directory({ held: this.#levels.held, path: '', batch: [], batchBytes: 0 }, '', 0)
      complete = true
    } catch (error) {
      if (this.#options.quiet || !this.#options.signal.aborted) {
        await this.hasher.finish().catch(() => {})
        throw error instanceof TreeTooLarge ? treeTooLarge(this.#options.volume, error) : error
      }
    }
    await this.hasher.finish()
    if (this.#options.quiet) this.#options.signal.throwIfAborted()
    return complete && !this.#options.signal.aborted
  }

  async #directory(place: WalkPosition, name: BytePath, depth: number): Promise<void> {
    const { stat } = this.#entries
    statAt(place.held.fd, '', stat)
    if (stat.devMajor !== this.#device[0] || stat.devMinor !== this.#device[1]) {
      throw unsupported(this.#options.volume, place.path, 'is another file system (a mount or a subvolume)')
    }
    const before = inodeState(stat)
    const index = this.#out.count
    const savedIn = this.#entries.directory(place, name, depth)
    const unchanged = this.#unchangedIn(savedIn)
    try {
      if (unchanged !== null) await this.#unchangedChildren(place, unchanged, depth + 1)
      else await this.#children(place, before.sizeBytes, depth + 1)
    } finally {
      this.hasher.abandon(place)
    }
    statAt(place.held.fd, '', this.#again)
    const same = sameState(before, this.#again)
    if (!same && this.#options.quiet) throw changed(this.#options.volume, place.path)
    if ((savedIn !== null) !== same) this.#out.setClean(index, same && this.#entries.isFinal(before))
  }

  async #children(place: WalkPosition, sizeBytes: number, depth: number): Promise<void> {
    const { signal } = this.#options
    signal.throwIfAborted()
    for (const name of await readNames(place.held.fd, sizeBytes, this.#options.limits)) {
      const wait = this.#child(place, name, depth)
      if (wait !== undefined) await wait
      if (!this.#pace.due()) continue
      await this.#pace.rest()
      signal.throwIfAborted()
    }
    await this.hasher.flush(place)
  }

  /**
   * Returns the directory if it was just found unchanged, and its names are known to be unchanged too.
   * Else null.
   */
  #unchangedIn(by: SnapshotCursor | null): UnchangedDirectory | null {
    const subtrees = this.#options.unchanged ?? null
    if (by === null || subtrees === null || by.tree !== subtrees.tree || !subtrees.isUnchanged(by.index)) return null
    return { subtrees: subtrees, index: by.index }
  }

  /** As `#children`, for a directory with unchanged names: scans only what moved. */
  async #unchangedChildren(
    place: WalkPosition,
    { subtrees, index: directory }: UnchangedDirectory,
    depth: number,
  ): Promise<void> {
    const { manifest } = subtrees.tree
    const end = manifest.subtreeEnd(directory)
    let first = directory + 1
    for (let index = first; index < end; ) {
      const next = manifest.subtreeEnd(index)
      if (!subtrees.isSubtreeUnchanged(index)) {
        this.#out.keepRange(subtrees.tree, first, index)
        await this.#child(place, manifest.name(index), depth)
        first = next
      }
      index = next
    }
    this.#out.keepRange(subtrees.tree, first, end)
    await this.hasher.flush(place)
  }

  /** Adds one entry of a directory; returns a promise when there is something to wait for. */
  #child(place: WalkPosition, name: BytePath, depth: number): Promise<void> | undefined {
    const { stat } = this.#entries
    try {
      statAt(place.held.fd, name, stat)
      if (depth > MAX_DEPTH) throw this.#tooDeep(place, name)
      if (stat.kind === 'dir') return this.#subdirectory(place, name, depth)
      return this.#entries.entry(place, name, depth)
    } catch (error) {
      this.#entries.passOver(error, place, name)
      return undefined
    }
  }

  async #subdirectory(place: WalkPosition, name: BytePath, depth: number): Promise<void> {
    let isWithin = false
    try {
      const held = this.#levels.enter(name)
      isWithin = true
      // Where nothing has to be waited for, one level calls the next, but not so many that the stack overflows.
      if (depth % CALLS_MAX === 0) await null
      await this.#directory({ held, path: joinPath(place.path, name), batch: [], batchBytes: 0 }, name, depth)
    } catch (error) {
      this.#entries.passOver(error, place, name)
    } finally {
      if (isWithin) place.held = this.#levels.leave()
    }
  }

  #tooDeep(place: WalkPosition, name: BytePath): Error {
    const what = `lies more than ${MAX_DEPTH} levels deep`
    return unsupported(this.#options.volume, joinPath(place.path, name), what)
  }
}
