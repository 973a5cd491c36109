/** What the transfer uses of the store: a tree to read for another host, and a stage to receive one. */

/** Names one tree of a copy on this host that can be opened for reading. */
export interface SnapshotRef {
  /** Id of the copy. */
  readonly id: string
  /**
   * `last`: the tree at the last quiet capture or apply.
   * `spool`: the checkpoint of a held volume, from the spool and, for what the spool lacks, from the live tree.
   * `live`: the tree at the last live capture.
   * `aside`: the tree at the last capture aside; this process alone knows of it.
   */
  readonly kind: 'last' | 'spool' | 'live' | 'aside'
}

/** Blocks `first` to `first + count - 1` of one file (by its index in the manifest). */
export interface BlockRun {
  readonly index: number
  readonly first: number
  readonly count: number
}

/** A piece of a file's data; what lies between two pieces is a hole. */
export interface Piece {
  /** Byte in the file. */
  readonly offset: number
  /** Has an ArrayBuffer of its own, which the receiver may transfer. */
  readonly data: Buffer
}

/**
 * What a receiver asks the source for next.
 * `bytes`: length of the response, at most for `blocks` (holes are left out), exactly for the others.
 * The receiver holds the source to it, and bounds with it what is on the way.
 * `files`: whole small files of one directory (at most FILES_MAX of them and FILES_MAX_BYTES together).
 * `hashes`: the list of block hashes of one larger file.
 * `blocks`: a run of blocks of one larger file (at most RUN_MAX_BYTES, or HOLES_MAX_BLOCKS of zeros).
 */
export type BlockRequest =
  | { readonly kind: 'files'; readonly indexes: readonly number[]; readonly bytes: number }
  | { readonly kind: 'hashes'; readonly index: number; readonly bytes: number }
  | { readonly kind: 'blocks'; readonly run: BlockRun; readonly bytes: number }

export const FILES_MAX = 512
export const FILES_MAX_BYTES = 1024 * 1024
/** Bytes of file that one run covers at most: requested at once, and lost when the transfer is cut. */
export const RUN_MAX_BYTES = 8 * 1024 * 1024
/** Blocks of zeros that one run covers at most: two megabytes of hashes. */
export const HOLES_MAX_BLOCKS = 65_536

/**
 * A manifest and its files, readable for another host. Several reads may be under way.
 * It must be closed; closing waits for the reads.
 */
export interface TreeReader extends AsyncDisposable {
  readonly hash: string
  /** The encoded manifest in chunks of at most 1 MiB. */
  manifest(): AsyncIterable<Buffer>
  /**
   * Reads whole small files into one buffer, one after the other.
   * The buffer has an ArrayBuffer of its own.
   * Files that have changed (size, kind, vanished) are named by position in `changed`, and read as zeros.
   * REQUEST_INVALID: an index is no small file, or there are more than the limits above.
   */
  files(indexes: readonly number[]): Promise<{ readonly data: Buffer; readonly changed: readonly number[] }>
  /**
   * Block hashes of a larger file, 32 bytes each, in chunks of at most 1 MiB.
   * REQUEST_INVALID: another kind of entry.
   */
  hashes(index: number): AsyncIterable<Buffer>
  /**
   * Data of a run in order, in pieces of at most 1 MiB, holes left out.
   * TREE_CHANGED: the file is not what the manifest says. REQUEST_INVALID: the file has no such blocks.
   */
  blocks(run: BlockRun): AsyncIterable<Piece>
}

/** Bytes and files to be received and received so far, including those of earlier attempts. */
export interface StageProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
}

/**
 * Receives one tree into the staging area of a copy. What is staged survives a cut or a restart.
 * After `begin`, `next` returns the requests in order. Each is answered by one series of take-calls, in that order.
 * Disk errors (DISK_FULL) reject the call that follows them at the latest, and `finish`.
 */
export interface TreeWriter extends AsyncDisposable {
  /**
   * Takes the encoded manifest, compares it with what is here, and checks the free space (DISK_FULL).
   * MANIFEST_INVALID: it is malformed or hostile, or longer than a manifest may be.
   */
  begin(manifest: AsyncIterable<Buffer>): Promise<void>
  /**
   * Returns the next request; null: everything needed was requested, and received or given up.
   * Waits while further requests depend on responses that have not come yet.
   */
  next(): Promise<BlockRequest | null>
  /**
   * Takes the response to `files`. `changed`: positions the source could not deliver.
   * REQUEST_INVALID: the sizes do not fit.
   */
  takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void>
  /**
   * Takes the response to `hashes`: chunks in order; the last call has `end`.
   * HASH_MISMATCH: the list is not the file's (the source or the connection is damaged).
   */
  takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void>
  /**
   * Takes the response to `blocks`: pieces in order. Waits while too much is unwritten.
   * REQUEST_INVALID: data outside of the run or out of order.
   */
  takePiece(run: BlockRun, piece: Piece): Promise<void>
  /**
   * Ends the response to `blocks`. `changed`: the source reports that the file has changed.
   * What was received is checked all the same.
   */
  endBlocks(run: BlockRun, changed: boolean): Promise<void>
  /**
   * Waits until everything received is written and checked.
   * True: every file of the manifest is staged or here.
   */
  finish(): Promise<boolean>
  progress(): StageProgress
}
