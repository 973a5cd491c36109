import type { Manifest } from '../manifest/manifest.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange, Cursor, FileChanges, Touched, Tracker } from '../tracker/contract.ts'
import { UnchangedSubtrees } from './unchanged-subtrees.ts'

/** Why every changed file is read whole. */
const NOT_SINCE_THEN = 'the tracker has not watched this volume since its last checkpoint'

/** The tracker of this host's file system, or why there is none. */
export type Tracking = { readonly tracker: Tracker } | { readonly reason: string }

/**
 * What the tracker knows of one volume's tree. Each scan of the tree is exact as of a *mark*.
 * Whatever differs in a large file from what that scan saw was written with an event after the mark.
 * docs/tracking.md has the argument. Without a tracker nothing is known of any tree.
 */
export class TreeChanges {
  readonly #tracking: Tracking
  readonly #owner: string
  /** The marks that trees in memory are exact as of. */
  readonly #marks = new WeakMap<Manifest, Cursor>()
  /** The mark of the tree at the volume's last checkpoint, which is loaded anew each time. */
  #last: { readonly hash: string; readonly mark: Cursor } | null = null

  constructor(tracking: Tracking, owner: string) {
    this.#tracking = tracking
    this.#owner = owner
  }

  /**
   * Makes a mark; call it before a sync. `running`: programs may write to the tree.
   * The tree is exact as of this mark if it is read after that sync, each file after its pages were cleaned.
   */
  async mark(running: boolean): Promise<Cursor> {
    const tracker = this.#tracker
    if (tracker === null) return 0
    const mark = tracker.cut()
    if (running) await tracker.settle()
    return mark
  }

  /** Reads from the kernel what was written up to now. */
  gather(): void {
    this.#tracker?.cut()
  }

  /** Returns what was written to a file since `tree` was exact, and up to the last mark or `gather`. */
  of(tree: SavedTree, ino: bigint): FileChanges {
    const mark = this.#markOf(tree)
    return mark === undefined ? null : (this.#tracker?.changes(ino, mark) ?? null)
  }

  /**
   * Returns which inodes were touched since a tree was exact, up to the last mark or `gather`.
   * Null: not known.
   */
  touched(tree: SavedTree): Touched | null {
    const mark = this.#markOf(tree)
    return mark === undefined ? null : (this.#tracker?.touched(mark) ?? null)
  }

  /**
   * Returns which parts of a tree have not changed since it was exact; null: not known.
   * No program may be in the middle of a change.
   */
  unchanged(tree: SavedTree): UnchangedSubtrees | null {
    const touched = this.touched(tree)
    return touched === null ? null : UnchangedSubtrees.of(tree, touched)
  }

  /** Whether a range of a file is known to have been written to since `tree` was exact; null: not known. */
  isWritten(tree: SavedTree, ino: bigint, { offset, length }: ByteRange): boolean | null {
    const known = this.of(tree, ino)
    if (known === null) return null
    return (
      known === 'all' || known.some((range) => range.offset < offset + length && offset < range.offset + range.length)
    )
  }

  /** Notes after a scan of the tree that it is exact as of `mark`. */
  know({ manifest }: SavedTree, mark: Cursor): void {
    if (mark > 0) this.#marks.set(manifest, mark)
  }

  /** As `know`, for the tree of the volume's new last checkpoint: older trees are not queried any more. */
  knowLast({ manifest }: SavedTree, mark: Cursor): void {
    this.#last = mark > 0 ? { hash: manifest.hash, mark } : null
    if (mark > 0) this.#tracker?.release(this.#owner, mark)
  }

  /** Watches the large files of a tree: from the next mark on their changes are known. */
  watch({ manifest, seen }: SavedTree): void {
    this.#tracker?.watch(this.#owner, largeInodes(manifest, seen))
  }

  /** Discards everything: the tree is about to be replaced. */
  forget(): void {
    this.#last = null
    this.#tracker?.unwatch(this.#owner)
  }

  /** Returns why the writes since this tree are not known, in a few words; null: they are known. */
  reasonAgainst(tree: SavedTree | null): string | null {
    if (!('tracker' in this.#tracking)) return this.#tracking.reason
    const { failure } = this.#tracking.tracker
    if (failure !== null) return failure
    const mark = tree === null ? undefined : this.#markOf(tree)
    return mark === undefined ? NOT_SINCE_THEN : this.#tracking.tracker.lossSince(mark)
  }

  get #tracker(): Tracker | null {
    return 'tracker' in this.#tracking && this.#tracking.tracker.failure === null ? this.#tracking.tracker : null
  }

  #markOf({ manifest }: SavedTree): Cursor | undefined {
    return this.#marks.get(manifest) ?? (this.#last?.hash === manifest.hash ? this.#last.mark : undefined)
  }
}

function* largeInodes(manifest: Manifest, seen: SavedTree['seen']): Generator<bigint> {
  for (let index = 0; index < manifest.count; index++) if (manifest.listBytes(index) > 0) yield seen.ino(index)
}
