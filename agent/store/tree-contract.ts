/** What the transfer uses of the store: a tree to be read for another host, and a stage that takes one in. */

/** Blocks `first` to `first + count - 1` of one file (by its index in the manifest). */
export interface BlockRun {
  readonly index: number
  readonly first: number
  readonly count: number
}

/** A file's data at a place; what lies between two pieces is a hole. */
export interface Piece {
  /** Byte in the file. */
  readonly offset: number
  /** Has an ArrayBuffer of its own: whoever takes it may give it away. */
  readonly data: Buffer
}

/**
 * The next thing a receiver wants of a tree. `bytes`: how long the answer is, at most for `blocks` (holes are left out) and
 * exactly for the others; whoever asks holds the source to it and bounds with it what is on the way.
 * `files`: whole small files of one directory (at most FILES_MAX of them and FILES_MAX_BYTES together).
 * `hashes`: the list of block hashes of one larger file.
 * `blocks`: a run of blocks of one larger file (at most RUN_MAX_BYTES, or HOLES_MAX_BLOCKS of zeros).
 */
export type Want =
  | { readonly kind: 'files'; readonly indexes: readonly number[]; readonly bytes: number }
  | { readonly kind: 'hashes'; readonly index: number; readonly bytes: number }
  | { readonly kind: 'blocks'; readonly run: BlockRun; readonly bytes: number }

export const FILES_MAX = 512
export const FILES_MAX_BYTES = 1024 * 1024
/** Bytes of file that one run covers at most: what is asked for in one go, and lost when it was cut off. */
export const RUN_MAX_BYTES = 8 * 1024 * 1024
/** Blocks of zeros that one run covers at most: two megabytes of hashes. */
export const HOLES_MAX_BLOCKS = 65_536

/** A manifest and the files it names, readable for another host. Several reads may be under way. Closing is mandatory and waits for them. */
export interface TreeReader extends AsyncDisposable {
  readonly hash: string
  /** The encoded manifest in chunks of at most 1 MiB. */
  manifest(): AsyncIterable<Buffer>
  /**
   * Whole small files, one after the other in one buffer with an ArrayBuffer of its own; those that are not what the
   * manifest says any more (size, kind, vanished) are named by position in `changed` and stand there as zeros.
   * REQUEST_INVALID for an index that is no small file or more than the limits above.
   */
  files(indexes: readonly number[]): Promise<{ readonly data: Buffer; readonly changed: readonly number[] }>
  /** Block hashes of a larger file, 32 bytes each, in chunks of at most 1 MiB. REQUEST_INVALID for another kind of entry. */
  hashes(index: number): AsyncIterable<Buffer>
  /** Data of a run in order, pieces of at most 1 MiB, holes left out. TREE_CHANGED when the file is not what the manifest says. REQUEST_INVALID for blocks it does not have. */
  blocks(run: BlockRun): AsyncIterable<Piece>
}

/** Bytes and files that have to come and that have come, those included that earlier attempts brought. */
export interface StageProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
}

/**
 * Receives one tree into the staging area of a copy. What was staged survives a cut or a restart and is used again.
 * After `begin`, `wants()` says what to ask for, in order; every want must be answered by exactly one of the take-calls' series, in the
 * same order. Disk errors (DISK_FULL) reject the call that follows them at the latest, and `finish`.
 */
export interface TreeWriter extends AsyncDisposable {
  /** Takes the encoded manifest; refuses a malformed or hostile one (MANIFEST_INVALID); compares it with what is here; checks free space (DISK_FULL). */
  begin(manifest: AsyncIterable<Buffer>): Promise<void>
  /**
   * The next want. Waits while more wants can only come from answers that are still outstanding; null: all that is needed was asked
   * for, and was answered or given up.
   */
  next(): Promise<Want | null>
  /** Answer to `files`. `changed`: positions the source could not deliver. REQUEST_INVALID when the sizes do not fit. */
  takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void>
  /** Answer to `hashes`: chunks in order; the last call has `end`. HASH_MISMATCH when the list is not the file's (the source or the line is damaged). */
  takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void>
  /** Answer to `blocks`: pieces in order. REQUEST_INVALID for data outside of the run or out of order. Waits while too much is unwritten. */
  takePiece(run: BlockRun, piece: Piece): Promise<void>
  /** Ends the answer to `blocks`. `changed`: the source says that the file is not what it was; what came is checked all the same. */
  endBlocks(run: BlockRun, changed: boolean): Promise<void>
  /** Waits until all that came is written and checked. True: every file the manifest names is staged or here. */
  finish(): Promise<boolean>
  progress(): StageProgress
}
