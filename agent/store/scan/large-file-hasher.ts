import type { Semaphore } from '../../runtime/semaphore.ts'
import { cleanPages, readByPages } from '../../sys/files.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES } from '../blocks/block-size.ts'
import { dataBlocks, holesList } from '../blocks/data-blocks.ts'
import type { State } from '../inode/inode.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { FileChanges } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { BlockAudit } from './audit-blocks.ts'
import { ChangedBlocks } from './changed-blocks.ts'
import type { BlockSink } from './content-sink.ts'
import { readAhead } from './read-ahead.ts'

/** Bytes of a large file that one task hashes: about 15 ms of a thread. */
const RANGE_BYTES = 16 * 1024 * 1024

/** Holes have no tags. */
const NO_TAGS = Buffer.alloc(0)

/** A large file as it was read before: blocks that are still the same are not hashed again. */
export interface FormerFile {
  readonly tree: SavedTree
  readonly index: number
  /** What was written to since. */
  readonly changes: FileChanges
  readonly ino: bigint
}

/** A large file in the snapshot whose content has no hash yet. */
export interface UnreadLarge {
  readonly index: number
  readonly name: BytePath
  /** Its state when it was described. */
  readonly state: State
  /** Where its block list is written. */
  readonly listOffset: number
  readonly former: FormerFile | null
  /** Bytes that are not holes. */
  readonly allocatedBytes: number
}

/** Returns how many bytes of it have to be read. */
export function bytesToRead({ former, allocatedBytes }: UnreadLarge): number {
  if (!Array.isArray(former?.changes)) return allocatedBytes
  return former.changes.reduce((sum, { length }) => sum + length, 0)
}

/** How a file is read. */
export interface ReadMode {
  /** Whether reads are to be exact as of a mark, see TreeChanges. */
  readonly marked: boolean
  /** True: the result is not needed any more. */
  readonly isStopped: () => boolean
}

/** Content of a large file. */
export interface ReadLarge {
  /** The hashes of its blocks. */
  readonly list: Buffer
  /** Its changed blocks were copied as they were read. */
  readonly isKept: boolean
}

interface LargeFileHasherOptions {
  readonly out: SnapshotBuilder
  readonly pool: BlockPool
  /** Slots for the tasks of the pool. */
  readonly tasks: Semaphore
  /** Reads some blocks without a known write. */
  readonly audit: BlockAudit
  readonly blockSink: BlockSink | null
}

/** Hashes large files in the pool, each in many tasks, and adds their lists to the snapshot. */
export class LargeFileHasher {
  bytesRead = 0
  readonly #options: LargeFileHasherOptions

  constructor(options: LargeFileHasherOptions) {
    this.#options = options
  }

  /** Reads a file from `fd`, which is the file or a clone of it; null: it was stopped. */
  async read(fd: number, file: UnreadLarge, manner: ReadMode): Promise<ReadLarge | null> {
    const known = await this.#changed(fd, file, manner)
    if (known !== null) return known
    if (manner.marked) await prepare(fd)
    this.bytesRead += Math.min(file.state.sizeBytes, file.allocatedBytes)
    const list = await this.#whole(fd, file, manner)
    return list === null ? null : { list, isKept: false }
  }

  /** As `#whole`, for a file whose writes since the last read are known; null: they are not. */
  async #changed(fd: number, file: UnreadLarge, { marked }: ReadMode): Promise<ReadLarge | null> {
    const { listOffset, former } = file
    const { sizeBytes } = file.state
    const { out, pool, tasks, audit, blockSink } = this.#options
    if (former === null || former.changes === null || former.changes === 'all') return null
    const changed = await ChangedBlocks.of(former.tree, former.index, former.changes, sizeBytes)
    if (changed === null) return null
    if (marked && changed.blocks.length > 0) await cleanPages(fd)
    const { blocks } = changed
    const isKept = (await blockSink?.accepts(sizeBytes, blocks)) ?? false
    await changed.rehash(fd, isKept ? blockSink : null, pool, tasks, marked)
    this.bytesRead += changed.bytes
    await audit.audit(fd, pool, file.name, former.ino, changed)
    out.writeList(file.index, listOffset, sizeBytes, changed)
    return { list: changed.hashes, isKept }
  }

  /** Reads a whole file and writes its list on the way; null: it was stopped. */
  async #whole(fd: number, { state: { sizeBytes }, listOffset, former }: UnreadLarge, { marked, isStopped }: ReadMode) {
    const { out, pool, tasks } = this.#options
    await using known = (await former?.tree.lists.knownBlocks(former.index, sizeBytes)) ?? null
    const blockBytes = blockBytesOf(sizeBytes)
    const list = holesList(sizeBytes)
    const range = async (first: number, count: number) => {
      try {
        if (marked) await readAhead(fd, sizeBytes, [{ offset: first * blockBytes, length: count * blockBytes }])
        const before = (await known?.range(first, count)) ?? null
        const range = await pool.rehashBlocks(fd, sizeBytes, first, count, before)
        out.writeBlocks(listOffset, sizeBytes, first, range)
        range.hashes.copy(list, first * HASH_BYTES)
      } finally {
        tasks.give()
      }
    }
    const ranges: Promise<void>[] = []
    let [written, stopped] = [0, false]
    const holesUpTo = (block: number) => {
      const hashes = list.subarray(written * HASH_BYTES, block * HASH_BYTES)
      if (hashes.length > 0) out.writeBlocks(listOffset, sizeBytes, written, { hashes, tags: NO_TAGS })
    }
    try {
      for (const { first, count } of dataBlocks(fd, sizeBytes, RANGE_BYTES / blockBytes)) {
        holesUpTo(first)
        written = first + count
        stopped = isStopped()
        if (stopped) break
        await tasks.take()
        const reading = range(first, count)
        // It may fail while this waits for a free slot; the error is thrown at the end.
        reading.catch(() => {})
        ranges.push(reading)
      }
      holesUpTo(blockCountOf(sizeBytes))
    } finally {
      await Promise.allSettled(ranges)
    }
    await Promise.all(ranges)
    return stopped ? null : list
  }
}

/**
 * Makes all pages of a file clean as of a moment from now on, and keeps folios small that are read now.
 * A write to a folio dirties all of it.
 */
async function prepare(fd: number): Promise<void> {
  await cleanPages(fd)
  readByPages(fd)
}
