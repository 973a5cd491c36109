import type { StatBuffer } from '../../sys/stat.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { Manifest } from '../manifest/manifest.ts'
import {
  depthAt,
  HEAD_BYTES,
  kindAt,
  linkTargetAt,
  mtimeRestAt,
  mtimeSecondsAt,
  nameLengthAt,
} from '../manifest/record-codec.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Touched } from '../tracker/contract.ts'

/**
 * Goes through a saved tree in step with a walk of the real one.
 * The walk must query every directory it enters, in tree order.
 */
export class SnapshotCursor {
  readonly tree: SavedTree
  readonly #manifest: Manifest
  readonly #touched: Touched | null
  readonly #buffer: Buffer
  readonly #count: number
  #next = 0

  /** `touched`: inodes touched since the tree was exact; null: not known. */
  constructor(tree: SavedTree, touched: Touched | null) {
    this.tree = tree
    this.#touched = touched
    this.#manifest = tree.manifest
    this.#buffer = tree.manifest.buffer
    this.#count = tree.manifest.count
  }

  /** Returns the index of the saved entry at the walk's place; -1 when there is none. */
  find(depth: number, name: BytePath): number {
    const buffer = this.#buffer
    for (; this.#next < this.#count; this.#next++) {
      const at = this.#manifest.offset(this.#next)
      const depthHere = depthAt(buffer, at)
      if (depthHere < depth) return -1
      // Deeper entries are in a directory that the walk has left, or that it does not have.
      if (depthHere > depth) continue
      const order = compareName(buffer, at, name)
      if (order === 0) return this.#next++
      if (order > 0) return -1
    }
    return -1
  }

  /** The last result of `find` that found something. */
  get index(): number {
    return this.#next - 1
  }

  /** Whether `stat` proves that a saved entry has not changed. Not for links. */
  proves(index: number, stat: StatBuffer): boolean {
    if (!this.tree.seen.cleanAs(index, stat)) return false
    const at = this.#manifest.offset(index)
    const kind = kindAt(this.#buffer, at)
    if (kind !== stat.kind) return false
    if (mtimeSecondsAt(this.#buffer, at) !== stat.mtimeSeconds) return false
    if (mtimeRestAt(this.#buffer, at) !== stat.mtimeRestNs) return false
    return kind !== 'file' || this.#manifest.sizeBytes(index) === stat.sizeBytes
  }

  /** Whether the file is known to have been written to: its content may differ even if `proves` returns true. */
  wasWritten({ inoLow, inoHigh }: StatBuffer): boolean {
    return this.#touched?.wasWritten(inoLow, inoHigh) ?? false
  }

  /** Whether an entry has changed since the tree was exact, although its inode is reported as not touched. */
  isUnreported(index: number, stat: StatBuffer): boolean {
    if (this.#touched === null || !this.tree.seen.isChanged(index, stat)) return false
    return !this.#touched.has(stat.inoLow, stat.inoHigh)
  }

  /** Returns the entry that a saved link names; -1 when it is no link. */
  linkTarget(index: number): number {
    const at = this.#manifest.offset(index)
    return kindAt(this.#buffer, at) === 'link' ? linkTargetAt(this.#buffer, at) : -1
  }
}

/**
 * Orders the name of a record and a name by their bytes.
 * A loop, because a call out of JavaScript costs more than most names.
 */
function compareName(buffer: Buffer, at: number, name: BytePath): number {
  const length = nameLengthAt(buffer, at)
  const shorter = Math.min(length, name.length)
  for (let nth = 0; nth < shorter; nth++) {
    const difference = (buffer[at + HEAD_BYTES + nth] ?? 0) - name.charCodeAt(nth)
    if (difference !== 0) return difference
  }
  return length - name.length
}
