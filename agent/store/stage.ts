import type { BlockRun } from './exchange.ts'
import type { Layout } from './layout.ts'
import type { Manifest } from './manifest.ts'
import type { Plan } from './plan.ts'
import type { BlockPool } from './pool/contract.ts'
import type { BlockLists, Snapshot } from './snapshot.ts'

/**
 * What lies in `<volume>/stage/`, and what of it is known to be good. One per volume, kept by the store for as long as the process
 * runs: a second attempt, or the apply, then need not read again what this process has written and checked.
 *
 * - `manifest`: the target, encoded; durable before anything of it is asked for.
 * - `lists`: block hashes of the target's large files that have to come.
 * - `new/<path>`: for each entry whose step is `file`: the whole file with its final attributes, but for inode flags (a file that is immutable
 *   cannot be moved), in directories with mode 0700. Nothing else is in a directory of the mirror once `missing` answered 0,
 *   so a directory that this host does not have yet can be moved into place whole.
 * - `blocks/<path>`: for each entry whose step is `blocks`: a sparse file of the target's size that holds the blocks which differ from
 *   this host's file. A block of zeros is a hole there.
 *
 * A stage that is only read (`target`, `lists`, `missing`, `changedBlocks`) makes no directory.
 */
export class Stage {
  readonly directory: string
  /** Path of the mirror of whole files. */
  readonly newRoot: string
  /** Path of the mirror of changed blocks. */
  readonly blocksRoot: string
  /** Block lists of the target by its indexes, for large files whose step is `file` or `blocks`; null for all others (this host's own lists have those). */
  readonly lists: BlockLists

  constructor(layout: Layout, volume: string, pool: BlockPool) {
    this.directory = this.newRoot = this.blocksRoot = layout.stage
    this.lists = { list: async () => null }
    throw new Error(`${layout.id} ${volume} ${pool.threads}`)
  }

  /** The manifest that is staged; null when there is none or it cannot be read. From memory where it is known. */
  async target(): Promise<Manifest | null> {
    throw new Error('soon')
  }

  /**
   * How many files of a plan (steps `file` and `blocks`) are not staged completely. What is not known to be good is hashed again;
   * what the plan does not want is removed from the mirrors. After 0 the mirrors are what apply may use; not synced.
   * `plan.mine` must be `mine.manifest`, and `plan.target` what `target()` answers. May be repeated; cheap when the same was answered before.
   */
  async missing(plan: Plan, mine: Snapshot, signal: AbortSignal): Promise<number> {
    throw new Error(`${plan} ${mine} ${signal}`)
  }

  /**
   * The block hashes of this host's version of a file whose step is `blocks`, as if it had the target's size already (cut off, or
   * longer by zeros): one hash for each block of the target. From `mine.lists` where block sizes agree, else the file is hashed.
   * On replay after a crash do not use this but hash the file as it is now: `pool.hashBlocks(fd, target's sizeBytes, 0, count)`
   * answers the same kind of list.
   */
  async ownList(plan: Plan, index: number, mine: Snapshot, signal: AbortSignal): Promise<Buffer> {
    throw new Error(`${plan} ${index} ${mine} ${signal}`)
  }

  /**
   * Runs of blocks of target file `index` in which `own` (a list as `ownList` answers it) is not what the target says: these have to be copied from
   * `blocks/<path>` to the same places, holes as holes (pool.copyRanges), after the file got its new size. Runs are not limited in
   * length. Rejects STAGE_INCOMPLETE when the target's list is not here.
   */
  async changedBlocks(index: number, own: Buffer): Promise<BlockRun[]> {
    throw new Error(`${index} ${own}`)
  }

  /** Call before the first staged file is moved away: what is known is forgotten, and the next look finds out anew. */
  forget(): void {}

  /** Removes all that is staged. Safe to repeat. */
  async drop(): Promise<void> {}
}
