import type { BytePath } from '../path.ts'
import type { BlockPool } from '../pool/contract.ts'
import type { ChangedBlocks } from './changed-blocks.ts'

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
}

/** Reads some blocks that are said not to have changed, a bounded number in one look at a tree. */
export class Audit {
  readonly suspects: Suspect[] = []
  #blocksLeft: number

  constructor(blocks: number) {
    this.#blocksLeft = blocks
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
