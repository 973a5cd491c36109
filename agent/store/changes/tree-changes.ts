import type { Manifest } from '../manifest/manifest.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange, Cursor, FileChanges, Touched, Tracker } from '../tracker/contract.ts'
import { UnchangedSubtrees } from './unchanged-subtrees.ts'

/** Why every changed file is read whole. */
const NOT_SINCE_THEN = 'the tracker has not watched this volume since its last checkpoint'

/** The tracker of this host's file system, or why there is none. */
export type Tracking = { readonly tracker: Tracker } | { readonly reason: string }

/**
 * What the tracker knows of one volume's tree. Each look at the tree is exact as of a *mark*: whatever in a large file is not as that look saw it was written to with an event after the mark.
 * docs/tracking.md has the argument. Without a tracker nothing is known of any tree.
 */
export class TreeChanges {
  readonly #tracking: Tracking
  readonly #owner: string
  /** As of which mark trees in memory are exact. */
  readonly #marks = new WeakMap<Manifest, Cursor>()
  /** The same of the tree at the volume's last checkpoint, which is loaded anew each time. */
  #last: { readonly hash: string; readonly mark: Cursor } | null = null

  constructor(tracking: Tracking, owner: string) {
    this.#tracking = tracking
    this.#owner = owner
  }

  /** To be called before a sync. The tree that is read after that sync, each file after its pages were cleaned, is exact as of this mark. `running`: programs may write to the tree. */
  async mark(running: boolean): Promise<Cursor> {
    const tracker = this.#tracker
    if (tracker === null) return 0
    const mark = tracker.cut()
    if (running) await tracker.settle()
    return mark
  }

  /** Takes note of what was written up to now. */
  gather(): void {
    this.#tracker?.cut()
  }

  /** What was written to a file since `tree` was exact, and up to the last mark or `gather`. */
  of(tree: KeptTree, ino: bigint): FileChanges {
    const mark = this.#markOf(tree)
    return mark === undefined ? null : (this.#tracker?.changes(ino, mark) ?? null)
  }

  /** Which inodes were touched since a tree was exact, up to the last mark or `gather`; null: nobody knows. */
  touched(tree: KeptTree): Touched | null {
    const mark = this.#markOf(tree)
    return mark === undefined ? null : (this.#tracker?.touched(mark) ?? null)
  }

  /** What of a tree stood still since it was exact; null: nobody knows. Nobody may be in the middle of a change. */
  still(tree: KeptTree): UnchangedSubtrees | null {
    const touched = this.touched(tree)
    return touched === null ? null : UnchangedSubtrees.of(tree, touched)
  }

  /** Whether a range of a file was written to since `tree` was exact, as far as is known; null: nothing is known of this file. */
  isWritten(tree: KeptTree, ino: bigint, { offset, length }: ByteRange): boolean | null {
    const known = this.of(tree, ino)
    if (known === null) return null
    return (
      known === 'all' || known.some((range) => range.offset < offset + length && offset < range.offset + range.length)
    )
  }

  /** A look at the tree is over: it is exact as of `mark`. */
  know({ manifest }: KeptTree, mark: Cursor): void {
    if (mark > 0) this.#marks.set(manifest, mark)
  }

  /** As `know`, of the tree that is the volume's last checkpoint from now on: what is older will not be asked for any more. */
  knowLast({ manifest }: KeptTree, mark: Cursor): void {
    this.#last = mark > 0 ? { hash: manifest.hash, mark } : null
    if (mark > 0) this.#tracker?.release(this.#owner, mark)
  }

  /** Watches the large files of a tree: from the next mark on their changes are known. */
  watch({ manifest, seen }: KeptTree): void {
    this.#tracker?.watch(this.#owner, largeInodes(manifest, seen))
  }

  /** The tree is about to be replaced. */
  forget(): void {
    this.#last = null
    this.#tracker?.unwatch(this.#owner)
  }

  /** Null: of this tree is known what was written to it since. Else why not, in a few words. */
  reasonAgainst(tree: KeptTree | null): string | null {
    if (!('tracker' in this.#tracking)) return this.#tracking.reason
    const { failure } = this.#tracking.tracker
    if (failure !== null) return failure
    const mark = tree === null ? undefined : this.#markOf(tree)
    return mark === undefined ? NOT_SINCE_THEN : this.#tracking.tracker.lossSince(mark)
  }

  get #tracker(): Tracker | null {
    return 'tracker' in this.#tracking && this.#tracking.tracker.failure === null ? this.#tracking.tracker : null
  }

  #markOf({ manifest }: KeptTree): Cursor | undefined {
    return this.#marks.get(manifest) ?? (this.#last?.hash === manifest.hash ? this.#last.mark : undefined)
  }
}

function* largeInodes(manifest: Manifest, seen: KeptTree['seen']): Generator<bigint> {
  for (let index = 0; index < manifest.count; index++) if (manifest.listBytes(index) > 0) yield seen.ino(index)
}
