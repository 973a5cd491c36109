import type { BlockPool } from '../workers/contract.ts'

/** Copies changed blocks of large files as they are read: one read for the hash and for the copy. */
export interface BlockSink {
  /** Whether these blocks of a file are to be copied. False: they are only hashed. Rejects DISK_FULL. */
  accepts(sizeBytes: number, blocks: readonly number[]): Promise<boolean>
  /**
   * Copies blocks of an open file as they are now.
   * Returns the hashes of the copies, 32 bytes each, in their order.
   */
  hashBlocks(fd: number, sizeBytes: number, blocks: readonly number[]): Promise<Buffer>
}

/** Copies what a scan finds changed, so that the tree may change again once the scan is done. */
export interface ContentSink {
  /** As BlockPool.hashFiles; the content is copied too. */
  readonly hashFiles: BlockPool['hashFiles']
  /**
   * Clones the open file `fd`, entry `index`, to be read later.
   * Null: read it now, which takes `bytes` bytes.
   * The owner of the sink closes the clone.
   */
  clone(index: number, fd: number, bytes: number): Promise<number | null>
  /**
   * Copies the blocks of a large file that have changed. False: some differ from `list` by now.
   * `list` has the hashes of all blocks, as they were just read; `former` the known ones, null: none.
   */
  keepBlocks(fd: number, sizeBytes: number, list: Buffer, former: Buffer | null): Promise<boolean>
}
