/**
 * A piece of a file's content on its way to the disk.
 * `data` has an ArrayBuffer of its own, which is transferred.
 */
export interface Extent {
  /** Byte in the file. */
  readonly offset: number
  readonly data: Buffer
}

/** A small file to be created. */
export interface NewFile {
  /** Name in the directory, one character per byte. */
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  /** SHA-256 of the content, 32 bytes. */
  readonly hash: Buffer
  /** Byte in the payload where its content begins. */
  readonly offset: number
  readonly sizeBytes: number
}

/**
 * Hashes of blocks, 32 bytes each, and tags that bind them to their contents (block-tag.ts), 16 bytes each.
 * Tags stay on this host.
 */
export interface TaggedBlocks {
  readonly hashes: Buffer
  readonly tags: Buffer
}

/**
 * Threads that read, hash and write data, so that the calling thread never waits for a disk.
 * Files are open descriptors, which hold for the whole process; keep them open until the call has settled.
 * Calls may run in any order and side by side. All reject with a SystemCallError.
 * An abort does not stop a call that has begun.
 */
export interface BlockPool extends AsyncDisposable {
  /** How many threads there are: with that many calls under way all are busy. */
  readonly threads: number
  /**
   * Hashes blocks `first` to `first + count - 1` of a file: `count` times 32 bytes.
   * Holes count as zeros and are not read. So does the end of a file that has become shorter than `sizeBytes`.
   * Works for small files (one block) as well.
   */
  hashBlocks(fd: number, sizeBytes: number, first: number, count: number): Promise<Buffer>
  /**
   * Hashes blocks as `hashBlocks` does, and tags them. `hashedBlocks`: how many hashes were computed.
   * `known` is the result of an earlier call for these blocks, from `first` on, however many.
   * A hash that its tag proves is taken over, six times faster than it is computed.
   * The hashes are right whatever `known` has (of another key, file or place, torn, zeros).
   */
  rehashBlocks(
    fd: number,
    sizeBytes: number,
    first: number,
    count: number,
    known: TaggedBlocks | null,
  ): Promise<TaggedBlocks & { readonly hashedBlocks: number }>
  /** As `rehashBlocks`, for some ascending blocks; results and `known` are in their order. */
  rehashSome(
    fd: number,
    sizeBytes: number,
    blocks: readonly number[],
    known: TaggedBlocks,
  ): Promise<TaggedBlocks & { readonly hashedBlocks: number }>
  /**
   * Hashes whole small files by name in the directory `directoryFd` (a held O_PATH descriptor).
   * Does not follow symlinks or change atimes. Returns 32 bytes and an outcome for each file.
   * Outcomes: 0; an errno (ENOENT, ELOOP ...) when it is missing or no regular file; 1 when its size is not
   * `sizes[i]`.
   */
  hashFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
  ): Promise<{ hashes: Buffer; outcomes: Uint16Array }>
  /**
   * Reads whole small files as `hashFiles` does, one after the other into one buffer with an ArrayBuffer of its
   * own.
   * A file with an outcome other than 0 takes `sizes[i]` bytes of zeros.
   */
  readFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
  ): Promise<{ data: Buffer; outcomes: Uint16Array }>
  /**
   * Creates files whose content matches its hash, with their attributes.
   * An older file of the name is replaced.
   * The payload's memory is transferred. Not synced.
   * Returns an outcome for each: 0; 1 when the content does not match; else an errno.
   */
  createFiles(directoryFd: number, files: readonly NewFile[], payload: Buffer): Promise<Uint16Array>
  /**
   * Checks whole blocks against their hashes and writes those that match. Not synced.
   * `blocks` ascend; `extents` are their data in order, and what is missing of a block is a hole.
   * `expected` has 32 bytes for each block. Returns 1 for each block that matched.
   * With `punch` holes are punched in the file, which may have had data there; without, the file has nothing there.
   * Starts the writeback without waiting for it.
   */
  writeBlocks(task: {
    readonly fd: number
    readonly sizeBytes: number
    readonly blocks: readonly number[]
    readonly expected: Buffer
    readonly extents: readonly Extent[]
    readonly punch: boolean
    /**
     * The same file opened once more for direct writes, past the page cache (sys/direct.ts).
     * Null: no direct writes.
     */
    readonly direct: number | null
  }): Promise<Uint8Array>
  /**
   * Copies byte ranges from one file to the same places of another, holes as holes (punched).
   * Not synced.
   * Serves to apply staged blocks.
   */
  copyRanges(
    from: number,
    to: number,
    ranges: readonly { readonly offset: number; readonly length: number }[],
  ): Promise<void>
  /**
   * Copies blocks of a file of `sizeBytes` to places (bytes) of another file. Not synced.
   * Returns the hashes of the copies, 32 bytes each.
   * Holes stay holes (punched where a place was used). What is missing at the end counts as zeros.
   * `known` is as in `rehashBlocks`, for these blocks in this order.
   */
  spoolBlocks(
    fd: number,
    to: number,
    sizeBytes: number,
    copies: readonly { readonly block: number; readonly place: number; readonly used: boolean }[],
    known: TaggedBlocks | null,
  ): Promise<Buffer>
  /**
   * Copies small files by name, up to `sizes[i]` bytes of each, one after the other to `place` of another file.
   * Returns the hashes of the copies. Not synced.
   * Outcomes are as in `hashFiles`; with 1 the content was copied, with zeros for what is missing.
   */
  spoolFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
    to: number,
    place: number,
  ): Promise<{ hashes: Buffer; outcomes: Uint16Array }>
}
