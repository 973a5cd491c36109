/** Numbers of cuts, 1, 2, 3 ...: a cut that came later has a greater one. Good for one tracker only, not for its successor after a restart. */
export type Cursor = number

/** Bytes of a file. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/**
 * What was dirtied: sorted, disjoint ranges of bytes, each of them whole 16 KiB blocks (the last may reach beyond the end of the file). `all`: anything
 * in the file may have changed. null: the tracker cannot say, because it did not watch since then or has lost events: read everything.
 */
export type FileChanges = readonly ByteRange[] | 'all' | null

/** Inodes of the tracker's file system that may have changed. They are asked for by the lower and upper 32 bits of their numbers: a bigint for each of 100,000 would take longer than all the rest. */
export interface Touched {
  /** In any way: content, attributes, names in a directory. What a sync writes out counts as well. */
  has(inoLow: number, inoHigh: number): boolean
  /** Its content. */
  wasWritten(inoLow: number, inoHigh: number): boolean
}

export interface TrackerStats {
  readonly watchedInodes: number
  /** Inodes that were to be watched, and there was no room: the answer for them is null. */
  readonly refusedInodes: number
  /** Blocks taken out of the kernel so far. */
  readonly drainedBlocks: number
  /** Blocks remembered now. */
  readonly keptBlocks: number
  /** How often events were lost, so that everything before had to be given up. */
  readonly losses: number
}

/**
 * Knows which blocks of watched files changed, by the kernel's word. Nothing of it throws: when the kernel fails it, it stops (see `failure`) and says null. For one file system, whatever it is mounted on. docs/tracking.md has the order
 * of calls that makes an answer right, and what a size that differs means.
 */
export interface Tracker extends Disposable {
  /**
   * Watches these inodes for this owner (a volume's id), and no longer those it named before and does not name now. What is watched already, for whomever,
   * stays as it is. About a microsecond for each one that is new. May be repeated.
   */
  watch(owner: string, inodes: Iterable<bigint>): void
  /** As `watch` with none, and forgets the owner. */
  unwatch(owner: string): void
  /** Takes what came so far out of the kernel. Whatever happens after it has returned belongs to a later cut. Takes about a millisecond. */
  cut(): Cursor
  /**
   * Waits until each processor has left the critical section it was in: between `cut` and the sync of a round while programs run. Not needed while they are
   * paused. Takes 10 to 20 ms.
   */
  settle(): Promise<void>
  /** What was dirtied in a file after cut `since` and up to the last cut. Consumes nothing. */
  changes(inode: bigint, since: Cursor): FileChanges
  /** Why nothing is known since a cut that is known: events were lost after it. null: none were, up to the last cut. */
  lossSince(since: Cursor): string | null
  /**
   * Which inodes of the file system, watched or not, may have changed after cut `since` and up to the last cut, or a moment after it. null: it cannot say. The first
   * question after a cut takes a millisecond.
   */
  touched(since: Cursor): Touched | null
  /** This owner will not ask for changes since a cut before `upTo` any more (since `upTo` itself it may): what is older is forgotten. */
  release(owner: string, upTo: Cursor): void
  readonly stats: TrackerStats
  /** Stops for good, because the audit found it wrong: from now on every answer is null. May be repeated; the first reason stays. */
  disable(reason: string): void
  /** Why it was stopped; null: it works. */
  readonly failure: string | null
}
