/** A piece of a file's content on its way to the disk. `data` has an ArrayBuffer of its own, which is given away. */
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
  /** Where its content lies in the payload. */
  readonly offset: number
  readonly sizeBytes: number
}

/** Hashes of blocks, 32 bytes each, and tags that bind them to their contents (tag.ts), 16 bytes each. Tags stay on this host. */
export interface TaggedBlocks {
  readonly hashes: Buffer
  readonly tags: Buffer
}

/**
 * Threads that do the heavy work on bytes, so that the thread that decides never waits for a disk. Files are given as open
 * descriptors (numbers hold for the whole process; the caller keeps them open until the call has settled). Calls may
 * run in any order and side by side. All reject with a SystemCallError; what was begun when a signal aborts is finished.
 */
export interface BlockPool extends AsyncDisposable {
  /** How many threads there are: with that many calls under way all are busy. */
  readonly threads: number
  /**
   * Hashes blocks `first` to `first + count - 1` of a file: `count` times 32 bytes. Holes count as zeros and are not read; so does what is
   * missing when the file has become shorter than `sizeBytes`. A small file (one block) may be asked for as well.
   */
  hashBlocks(fd: number, sizeBytes: number, first: number, count: number): Promise<Buffer>
  /**
   * Hashes blocks as `hashBlocks` does, and tags them. `known` has what an earlier call answered for these blocks, from `first` on, however many; a
   * hash that is proven by its tag is taken over, six times faster than it is worked out. Whatever `known` has
   * (of another key, file or place, torn, zeros), the hashes are right. `hashedBlocks`: how many were worked out.
   */
  rehashBlocks(
    fd: number,
    sizeBytes: number,
    first: number,
    count: number,
    known: TaggedBlocks | null,
  ): Promise<TaggedBlocks & { readonly hashedBlocks: number }>
  /** As `rehashBlocks`, for some blocks, ascending: what is answered stands in their order, and so does what is `known`. */
  rehashSome(
    fd: number,
    sizeBytes: number,
    blocks: readonly number[],
    known: TaggedBlocks,
  ): Promise<TaggedBlocks & { readonly hashedBlocks: number }>
  /**
   * Hashes whole small files by name in the directory `directoryFd` (a held O_PATH descriptor), without following symlinks and without changing
   * atimes. Answers 32 bytes each and what became of each (errno ENOENT, ELOOP ... when it is not there or no regular
   * file; 1 when its size is not `sizes[i]`).
   */
  hashFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
  ): Promise<{ hashes: Buffer; outcomes: Uint16Array }>
  /**
   * Reads whole small files as `hashFiles` does; answers their content one after the other in one buffer with an ArrayBuffer of its own. A file with
   * an outcome other than 0 takes `sizes[i]` bytes of zeros.
   */
  readFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
  ): Promise<{ data: Buffer; outcomes: Uint16Array }>
  /**
   * Checks each content against its hash and, where it is right, makes the file in the directory with its attributes (an older file of that
   * name is replaced). The payload's memory is given away. Answers what became of each: 0 is good, 1 says that the content is not what was said, else
   * an errno number. Not synced.
   */
  createFiles(directoryFd: number, files: readonly NewFile[], payload: Buffer): Promise<Uint16Array>
  /**
   * Checks whole blocks against their hashes and writes those that are right. `blocks` ascend; `extents` are their data in order, what is missing of a block
   * is a hole. `expected` has 32 bytes for each block. With `punch` what is a hole is made one in the file (which may have had data there); without,
   * the file is known to have nothing there. Answers 1 for each block that was right. Starts writing them out to the disk without waiting. Not synced.
   */
  writeBlocks(task: {
    readonly fd: number
    readonly sizeBytes: number
    readonly blocks: readonly number[]
    readonly expected: Buffer
    readonly extents: readonly Extent[]
    readonly punch: boolean
    /** The same file opened once more for direct writes (sys/direct.ts): what can be is written past the page cache; null: nothing is. */
    readonly direct: number | null
  }): Promise<Uint8Array>
  /** Copies byte ranges from one file to the same places of another, holes as holes (punched). For applying staged blocks. Not synced. */
  copyRanges(
    from: number,
    to: number,
    ranges: readonly { readonly offset: number; readonly length: number }[],
  ): Promise<void>
  /**
   * Copies blocks of a file of `sizeBytes` to places (bytes) of another file, holes as holes (punched where a place was used), and hashes what it has copied: 32 bytes each.
   * `known` is as of `rehashBlocks`, for these blocks in this order. What is missing at the end counts as zeros. Not synced.
   */
  spoolBlocks(
    fd: number,
    to: number,
    sizeBytes: number,
    copies: readonly { readonly block: number; readonly place: number; readonly used: boolean }[],
    known: TaggedBlocks | null,
  ): Promise<Buffer>
  /**
   * Copies small files by name, up to `sizes[i]` bytes of each, one after the other to `place` of another file, and hashes what it has copied.
   * Outcomes as of `hashFiles`; with 1 what is there was copied, and zeros for what is missing. Not synced.
   */
  spoolFiles(
    directoryFd: number,
    names: readonly string[],
    sizes: readonly number[],
    to: number,
    place: number,
  ): Promise<{ hashes: Buffer; outcomes: Uint16Array }>
}
