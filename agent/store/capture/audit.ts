import type { BytePath } from '../path.ts'
import type { BlockPool } from '../pool/contract.ts'
import type { ChangedBlocks } from './changed-blocks.ts'

/** A few of each file, so that many are looked at. */
const BLOCKS_OF_FILE = 4

/** A block that is not as it was, although nobody was known to have written to it when it was read. */
export interface Suspect {
  readonly name: BytePath
  readonly ino: bigint
  readonly offset: number
  readonly length: number
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
    for (const range of await changed.audit(fd, pool, most)) this.suspects.push({ name, ino, ...range })
  }
}
