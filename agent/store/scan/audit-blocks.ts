import type { BytePath } from '../manifest/byte-path.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { ChangedBlocks } from './changed-blocks.ts'

/** One is enough; what programs do meanwhile makes some that are explained a moment later. */
const UNTOLD_MOST = 64

/** A few of each file, so that many are looked at. */
export const BLOCKS_OF_FILE = 4

/** How much is read in one look at a tree although nobody is known to have written to it. */
export interface AuditLimits {
  /** Blocks of large files that have changed, in other blocks. */
  readonly blocks: number
  /** Files that are kept as they are. */
  readonly files: number
}

/** A part of a file that is not as it was, although nobody was known to have written to it when it was read. */
export interface Suspect {
  readonly name: BytePath
  readonly ino: bigint
  readonly offset: number
  readonly length: number
  /** Whether the file was in the state in which it was kept, before it was read and after. */
  readonly untouched: boolean
  /**
   * Set: the ctime is another than in this tree, and the inode is said not to have been touched since that was exact.
   * No part of the file then.
   */
  readonly since?: KeptTree
}

/** Reads some blocks that are said not to have changed, a bounded number in one look at a tree. */
export class BlockAudit {
  readonly suspects: Suspect[] = []
  #blocksLeft: number
  #untold = 0

  constructor(blocks: number) {
    this.#blocksLeft = blocks
  }

  /** An entry has changed, and nobody has told that it was touched. */
  untold(name: BytePath, ino: bigint, since: KeptTree): void {
    if (this.#untold++ < UNTOLD_MOST) this.suspects.push({ name, ino, offset: 0, length: 0, untouched: false, since })
  }

  async look(fd: number, pool: BlockPool, name: BytePath, ino: bigint, changed: ChangedBlocks): Promise<void> {
    const most = Math.min(BLOCKS_OF_FILE, this.#blocksLeft)
    if (most === 0) return
    this.#blocksLeft -= most
    for (const range of await changed.audit(fd, pool, most)) {
      this.suspects.push({ name, ino, ...range, untouched: false })
    }
  }
}
