import type { BytePath } from '../manifest/byte-path.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { ChangedBlocks } from './changed-blocks.ts'

/** One is enough to act on. Programs that write meanwhile add some that are explained a moment later. */
const UNREPORTED_MAX = 64

/** Blocks read of each file: a few, so that many files are read. */
export const BLOCKS_OF_FILE = 4

/** How much one scan reads although no write to it is known. */
export interface AuditLimits {
  /** Blocks of large files that have changed in other blocks. */
  readonly blocks: number
  /** Files that are taken over unchanged. */
  readonly files: number
}

/** A part of a file that differs from its saved state, although no write to it was known when it was read. */
export interface Suspect {
  readonly name: BytePath
  readonly ino: bigint
  readonly offset: number
  readonly length: number
  /** True: the file was in its saved state before it was read and after. */
  readonly untouched: boolean
  /**
   * Set: the ctime differs from this tree's, and the inode is reported as not touched since that tree was exact.
   * The suspect is then no part of the file.
   */
  readonly since?: SavedTree
}

/** Reads some blocks that are reported as unchanged: a bounded number in one scan. */
export class BlockAudit {
  readonly suspects: Suspect[] = []
  #blocksLeft: number
  #unreported = 0

  constructor(blocks: number) {
    this.#blocksLeft = blocks
  }

  /** Notes an entry that has changed without being reported as touched. */
  addUnreported(name: BytePath, ino: bigint, since: SavedTree): void {
    if (this.#unreported++ < UNREPORTED_MAX)
      this.suspects.push({ name, ino, offset: 0, length: 0, untouched: false, since })
  }

  async audit(fd: number, pool: BlockPool, name: BytePath, ino: bigint, changed: ChangedBlocks): Promise<void> {
    const most = Math.min(BLOCKS_OF_FILE, this.#blocksLeft)
    if (most === 0) return
    this.#blocksLeft -= most
    for (const range of await changed.audit(fd, pool, most)) {
      this.suspects.push({ name, ino, ...range, untouched: false })
    }
  }
}
