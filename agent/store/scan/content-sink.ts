import type { BlockPool } from '../workers/contract.ts'

/** Keeps changed blocks of large files as they are read: once for their hash and for the copy. */
export interface BlockSink {
  /** Whether these blocks of a file are to be kept. False: they are only hashed. Rejects DISK_FULL. */
  wants(sizeBytes: number, blocks: readonly number[]): Promise<boolean>
  /** Copies blocks of an open file whatever they are; answers the hashes of what was copied, 32 bytes each, in their order. */
  hashBlocks(fd: number, sizeBytes: number, blocks: readonly number[]): Promise<Buffer>
}

/** Keeps what a look at a tree finds changed, so that the tree itself need not stay as it is once the look is over. */
export interface ContentSink {
  /** As BlockPool.hashFiles; what was hashed is kept. */
  readonly hashFiles: BlockPool['hashFiles']
  /**
   * Opens what the file `fd`, entry `index`, is now as another file, to be read later; null: it has to be read now, which takes so many bytes. Whoever made the
   * Keeping closes it.
   */
  clone(index: number, fd: number, bytes: number): Promise<number | null>
  /**
   * Keeps those blocks of a large file that are not as they were. `list` has the hashes of all, as they were just read, `former` those that were known; null: none.
   * False: some are not what `list` says any more.
   */
  keepBlocks(fd: number, sizeBytes: number, list: Buffer, former: Buffer | null): Promise<boolean>
}
