import { HOLES_MAX_BLOCKS } from '../tree-contract.ts'
import { type BlockGroup, GROUP_BYTES } from './incoming-run.ts'

/**
 * Joins groups of blocks of one file that follow each other in rising order, as those of scattered runs do.
 * Each write is a message to another thread, which costs more than a single block.
 */
export class BlockCoalescer {
  readonly #write: (index: number, group: BlockGroup) => void
  #index = -1
  #groups: BlockGroup[] = []
  #bytes = 0
  #blocks = 0

  constructor(write: (index: number, group: BlockGroup) => void) {
    this.#write = write
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0
  }

  /**
   * Takes a group.
   * Writes the joined blocks when they are enough, or when this group does not follow them.
   */
  add(index: number, group: BlockGroup): void {
    const last = this.#groups.at(-1)?.blocks.at(-1) ?? -1
    if (index !== this.#index || last >= (group.blocks[0] ?? -1)) this.flush()
    this.#index = index
    this.#groups.push(group)
    this.#bytes += group.bytes
    this.#blocks += group.blocks.length
    if (this.#bytes >= GROUP_BYTES || this.#blocks >= HOLES_MAX_BLOCKS) this.flush()
  }

  /** Writes the blocks that wait. */
  flush(): void {
    const groups = this.#groups
    if (groups.length === 0) return
    const [blocks, extents] = [groups.flatMap((group) => group.blocks), groups.flatMap((group) => group.extents)]
    const bytes = this.#bytes
    this.#groups = []
    this.#bytes = 0
    this.#blocks = 0
    this.#write(this.#index, { blocks, extents, bytes })
  }
}
