import type { Semaphore } from '../../runtime/semaphore.ts'
import { cleanPages, readByPages } from '../../sys/files.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES } from '../blocks/block-size.ts'
import { dataBlocks, holesList } from '../blocks/data-blocks.ts'
import type { State } from '../inode/inode.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { FileChanges } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { BlockAudit } from './audit-blocks.ts'
import { ChangedBlocks } from './changed-blocks.ts'
import type { BlockSink } from './content-sink.ts'
import { readAhead } from './read-ahead.ts'

/** Bytes of a large file that are hashed in one go: about 15 ms of a thread. */
const RANGE_BYTES = 16 * 1024 * 1024

/** Holes have none. */
const NO_TAGS = Buffer.alloc(0)

/** A large file as it was when it was read before: its blocks that are the same still are not hashed again. */
export interface Former {
  readonly tree: KeptTree
  readonly index: number
  /** What was written to since. */
  readonly changes: FileChanges
  readonly ino: bigint
}

/** A large file that is in the snapshot and lacks its content's hash. */
export interface UnreadLarge {
  readonly index: number
  readonly name: BytePath
  /** As it was when it was described. */
  readonly state: State
  /** Where its list goes. */
  readonly listOffset: number
  readonly former: Former | null
  /** Bytes that are no holes. */
  readonly allocatedBytes: number
}

/** What has to be read of it. */
export function bytesOf({ former, allocatedBytes }: UnreadLarge): number {
  if (!Array.isArray(former?.changes)) return allocatedBytes
  return former.changes.reduce((sum, { length }) => sum + length, 0)
}

/** How a file is read. */
export interface Manner {
  /** Whether what is read is to be exact as of a mark, see TreeChanges. */
  readonly marked: boolean
  /** True: nobody wants the result any more. */
  readonly isStopped: () => boolean
}

/** What a file has. */
export interface ReadLarge {
  /** The hashes of its blocks. */
  readonly list: Buffer
  /** Those that are not as they were were kept as they were read. */
  readonly isKept: boolean
}

interface LargeFilesOptions {
  readonly out: SnapshotBuilder
  readonly pool: BlockPool
  /** For the tasks of the pool. */
  readonly tasks: Semaphore
  /** Reads some of what nobody is known to have written to. */
  readonly audit: BlockAudit
  readonly keepingBlocks: BlockSink | null
}

/** Has the pool read large files, each in many tasks, and puts their lists into the snapshot. */
export class LargeFiles {
  bytesRead = 0
  readonly #options: LargeFilesOptions

  constructor(options: LargeFilesOptions) {
    this.#options = options
  }

  /** Reads a file from `fd`, which is the file or has its content; null when it was stopped. */
  async read(fd: number, file: UnreadLarge, manner: Manner): Promise<ReadLarge | null> {
    const known = await this.#changed(fd, file, manner)
    if (known !== null) return known
    if (manner.marked) await prepare(fd)
    this.bytesRead += Math.min(file.state.sizeBytes, file.allocatedBytes)
    const list = await this.#whole(fd, file, manner)
    return list === null ? null : { list, isKept: false }
  }

  /** As `#whole`, of a file of which is known what was written to since it was read before; null: it is not. */
  async #changed(fd: number, file: UnreadLarge, { marked }: Manner): Promise<ReadLarge | null> {
    const { listOffset, former } = file
    const { sizeBytes } = file.state
    const { out, pool, tasks, audit, keepingBlocks } = this.#options
    if (former === null || former.changes === null || former.changes === 'all') return null
    const changed = await ChangedBlocks.of(former.tree, former.index, former.changes, sizeBytes)
    if (changed === null) return null
    if (marked && changed.blocks.length > 0) await cleanPages(fd)
    const { blocks } = changed
    const isKept = (await keepingBlocks?.wants(sizeBytes, blocks)) ?? false
    await changed.rehash(fd, isKept ? keepingBlocks : null, pool, tasks, marked)
    this.bytesRead += changed.bytes
    await audit.look(fd, pool, file.name, former.ino, changed)
    out.writeList(file.index, listOffset, sizeBytes, changed)
    return { list: changed.hashes, isKept }
  }

  /** A large file's list, which is written on the way; null when it was stopped. */
  async #whole(fd: number, { state: { sizeBytes }, listOffset, former }: UnreadLarge, { marked, isStopped }: Manner) {
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
        // It may fail while this waits for a free slot; what failed is thrown in the end.
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

/** Makes all pages clean at a moment from now on; and as a write to a folio dirties all of it, those that are read now shall be small. */
async function prepare(fd: number): Promise<void> {
  await cleanPages(fd)
  readByPages(fd)
}
