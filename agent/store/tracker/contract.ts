/**
 * Numbers of cuts, 1, 2, 3 ...: a later cut has a greater one.
 * Valid for one tracker only, not for its successor after a restart.
 */
export type Cursor = number

/** Bytes of a file. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/**
 * What was dirtied in a file.
 * A list: sorted, disjoint ranges of whole 16 KiB blocks (the last may reach beyond the end of the file).
 * `all`: anything in the file may have changed.
 * Null: not known, because the tracker did not watch since then or has lost events: read everything.
 */
export type FileChanges = readonly ByteRange[] | 'all' | null

/**
 * Inodes of the tracker's file system that may have changed, by the lower and upper 32 bits of their numbers.
 * A bigint for each of 100,000 would take longer than everything else.
 */
export interface Touched {
  /**
   * Whether anything changed: content, attributes, names in a directory.
   * Data written out by a sync count as well.
   */
  has(inoLow: number, inoHigh: number): boolean
  /** Whether the content changed. */
  wasWritten(inoLow: number, inoHigh: number): boolean
}

export interface TrackerStats {
  readonly watchedInodes: number
  /** Inodes that could not be watched for lack of room: the result for them is null. */
  readonly refusedInodes: number
  /** Blocks read from the kernel so far. */
  readonly drainedBlocks: number
  /** Blocks remembered now. */
  readonly keptBlocks: number
  /** How often events were lost, so that everything before was discarded. */
  readonly losses: number
}

/**
 * Knows which blocks of watched files changed, as the kernel reports it.
 * For one file system, wherever it is mounted.
 * Never throws: when the kernel fails it, it stops (see `failure`) and returns null.
 * docs/tracking.md has the order of calls that makes a result right, and what a differing size means.
 */
export interface Tracker extends Disposable {
  /**
   * Watches these inodes for an owner (a volume's id), and no longer others that it named before.
   * May be repeated.
   * Inodes that are watched already stay as they are. Takes about a microsecond for each new one.
   */
  watch(owner: string, inodes: Iterable<bigint>): void
  /** As `watch` with none, and forgets the owner. */
  unwatch(owner: string): void
  /**
   * Reads all events so far from the kernel. Events after the return belong to a later cut.
   * Takes about a millisecond.
   */
  cut(): Cursor
  /**
   * Waits until each processor has left the critical section it was in. Takes 10 to 20 ms.
   * Call it between `cut` and the sync of a round while programs run; not needed while they are paused.
   */
  settle(): Promise<void>
  /** Returns what was dirtied in a file after cut `since` and up to the last cut. Consumes nothing. */
  changes(inode: bigint, since: Cursor): FileChanges
  /**
   * Returns why nothing is known since a known cut: events were lost after it.
   * Null: none, up to the last cut.
   */
  lossSince(since: Cursor): string | null
  /**
   * Returns which inodes, watched or not, may have changed after cut `since` and up to the last cut or a moment
   * after it.
   * Null: not known. The first query after a cut takes a millisecond.
   */
  touched(since: Cursor): Touched | null
  /**
   * This owner will not query changes since a cut before `upTo` any more: what is older is forgotten.
   * Queries since `upTo` itself stay possible.
   */
  release(owner: string, upTo: Cursor): void
  readonly stats: TrackerStats
  /**
   * Stops for good, because the audit found it wrong: every result is null from now on.
   * May be repeated; the first reason stays.
   */
  disable(reason: string): void
  /** Why it was stopped; null: it works. */
  readonly failure: string | null
}
