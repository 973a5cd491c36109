import { closeSync } from 'node:fs'
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'
import { syncDirectory, UNFINISHED } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import { blockCountOf, runsOf, sameHash } from '../blocks/block-size.ts'
import { ZeroHashes } from '../blocks/zero-hashes.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import { Mirror } from '../inode/mirror.ts'
import { removeTree } from '../inode/removal.ts'
import { printable } from '../manifest/byte-path.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { parseManifest } from '../manifest/parser.ts'
import type { Plan } from '../manifest/plan.ts'
import type { BlockLists, Snapshot } from '../snapshot/snapshot.ts'
import type { BlockRun } from '../tree-contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { StageInspection, type StageInspectionParts } from './inspect-stage.ts'
import { dropCommit } from './journal.ts'
import { ownBlocks } from './local-blocks.ts'
import { StageSync } from './stage-sync.ts'
import { StagedLists } from './staged-lists.ts'
import { StagedState } from './staged-state.ts'

/** Bytes that lists of earlier targets may add to those of the present one before they are dropped. */
const OLD_LISTS_BYTES = 64 * 1024 * 1024

/**
 * What is staged in `<volume>/stage/`, and what of it is known to be correct.
 * There is one per volume, kept while the process runs: a second attempt, or the apply, need not read again what
 * this process has written and checked.
 *
 * - `manifest`: the target, encoded; durable before anything of it is requested.
 * - `lists`: block hashes of the target's large files that have to be received.
 * - `new/<path>`: for each entry whose step is `file`, the whole file with its final attributes, but for inode
 *   flags (an immutable file cannot be moved), in directories with mode 0700. Once `missing` has returned 0,
 *   nothing else is in a directory of the mirror: a directory that this host lacks can be moved into place whole.
 * - `blocks/<path>`: for each entry whose step is `blocks`, a sparse file of the target's size with the blocks that
 *   differ from this host's file.
 */
export class Stage {
  readonly directory: string
  /** Path of the mirror of whole files. */
  readonly newRoot: string
  /** Path of the mirror of changed blocks. */
  readonly blocksRoot: string
  /**
   * Block lists of the target by its indexes, for large files whose step is `file` or `blocks`.
   * Null for all others: this host's own lists have those.
   */
  readonly lists: BlockLists = { list: (index) => this.#list(index) }
  /** For the writer. */
  readonly parts: StageInspectionParts
  readonly inspection: StageInspection
  readonly #layout: Layout
  readonly #sync: StageSync
  readonly #volume: string
  #target: Manifest | null = null
  #state: StagedState | null = null

  constructor(layout: Layout, volume: string, pool: BlockPool) {
    this.#layout = layout
    this.#volume = volume
    this.directory = layout.stage
    this.newRoot = join(layout.stage, 'new')
    this.blocksRoot = join(layout.stage, 'blocks')
    this.parts = {
      pool,
      lists: new StagedLists(join(layout.stage, 'lists')),
      whole: new Mirror(this.newRoot),
      blocks: new Mirror(this.blocksRoot),
      tree: new Mirror(layout.data),
      zeros: new ZeroHashes(),
    }
    this.inspection = new StageInspection(this.parts)
    this.#sync = new StageSync(layout, volume, () => this.drop())
  }

  /** Returns the staged manifest, from memory if it is known; null: there is none, or it cannot be read. */
  async target(): Promise<Manifest | null> {
    if (this.#target !== null) return this.#target
    try {
      this.#target = await parseManifest(await readFile(this.#manifest))
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && codeOf(error) !== 'MANIFEST_INVALID') throw error
    }
    return this.#target
  }

  /**
   * Returns how many files of a plan (steps `file` and `blocks`) are not staged completely.
   * Hashes what is not known to be correct, and removes from the mirrors what the plan does not need.
   * After 0 the mirrors are ready for apply; not synced. May be repeated; cheap when the result was the same
   * before.
   * `plan.mine` must be `mine.manifest`, and `plan.target` the result of `target()`.
   */
  async missing(plan: Plan, mine: Snapshot, signal: AbortSignal): Promise<number> {
    const state = await this.inspect(plan, mine, signal)
    for (const index of state.large()) {
      if (!state.inspected.has(index)) await this.inspection.large(state, mine, index, false, signal)
    }
    return state.needed - state.complete.count
  }

  /**
   * Returns the block hashes of this host's version of a `blocks` file, as if it had the target's size already.
   * The file counts as cut off, or as longer by zeros: there is one hash for each block of the target.
   * They come from `mine.lists` where block sizes agree; else the file is hashed.
   * Do not use it on replay after a crash. Hash the file as it is now:
   * `pool.hashBlocks(fd, target's sizeBytes, 0, count)` returns the same kind of list.
   */
  async ownList(plan: Plan, index: number, mine: Snapshot, signal: AbortSignal): Promise<Buffer> {
    return await ownBlocks(plan, index, mine, this.parts, signal)
  }

  /**
   * Returns the runs of blocks of target file `index` that differ from `own`, a list of `ownList`.
   * Copy them from `blocks/<path>` to the same places, holes as holes (pool.copyRanges), once the file has its new
   * size.
   * Runs are not limited in length. STAGE_INCOMPLETE: the target's list is not here.
   */
  async changedBlocks(index: number, own: Buffer): Promise<BlockRun[]> {
    const list = await this.#list(index)
    if (list === null) {
      const path = printable((await this.target())?.path(index) ?? '')
      throw new WherryError('STAGE_INCOMPLETE', `The block hashes of ${path} in volume ${this.#volume} are not here.`, {
        hint: 'Let the copy be filled again.',
      })
    }
    const count = blockCountOf((await this.target())?.file(index).sizeBytes ?? 0)
    return [...runsOf(index, count, Number.POSITIVE_INFINITY, (block) => !sameHash(own, list, block))]
  }

  /**
   * Forgets what is known: the next inspection reads the stage again.
   * Call it before the first staged file is moved away.
   */
  forget(): void {
    this.#state = null
  }

  /**
   * Writes all that was staged and applied to the disk; returns T, see `readClockAndSync`.
   * Call it before anything is staged: from then on it rejects when any data could not be written, even if the
   * kernel has reported that to another program. DISK_FULL, or SYSTEM_CALL_FAILED for a failing disk.
   * The stage is dropped then, and an unfinished apply is abandoned: the copy stays `applying` until it is filled
   * again.
   */
  sync(): Promise<bigint> {
    return this.#sync.sync()
  }

  /** Closes what is open. The stage may be used again. */
  close(): Promise<void> {
    return this.#sync.close()
  }

  /** Removes all that is staged. May be repeated. */
  async drop(): Promise<void> {
    await this.close()
    this.forget()
    this.#target = null
    this.parts.lists.close()
    try {
      closeSync(openRoot(this.directory))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return
      throw error
    }
    await removeTree(this.directory)
  }

  /**
   * After a crash: removes the rest of a stage that was applied, or whose removal had begun (it has no manifest).
   * `checkpoint` is the copy's. What is staged for another checkpoint stays.
   */
  async dropApplied(checkpoint: Checkpoint | null): Promise<void> {
    const target = await this.target()
    if (target === null || target.hash === checkpoint?.hash) await this.drop()
    // It may not be needed for long.
    else this.#target = null
  }

  /**
   * For the writer: stages for `target` from now on. Durable on return.
   * What was staged for another target is inspected with the next plan.
   * An unfinished apply is abandoned: the copy stays `applying` until it has been applied.
   */
  async retarget(target: Manifest): Promise<void> {
    await this.parts.whole.make()
    await this.parts.blocks.make()
    let listBytes = 0
    for (let index = 0; index < target.count; index++) listBytes += target.listBytes(index)
    if (this.parts.lists.sizeBytes > 2 * listBytes + OLD_LISTS_BYTES) this.parts.lists.drop()
    if ((await this.target())?.hash !== target.hash) await this.#writeManifest(target)
    else await dropCommit(this.#layout)
    this.#target = target
  }

  async #writeManifest(target: Manifest): Promise<void> {
    const unfinished = `${this.#manifest}${UNFINISHED}`
    const file = await open(unfinished, 'w', 0o600)
    try {
      for (const chunk of target.encoded()) await file.writeFile(chunk)
      await file.sync()
    } finally {
      await file.close()
    }
    // Only now: a manifest that does not fit on the disk must not abandon an apply that could still be finished.
    await dropCommit(this.#layout)
    await rename(unfinished, this.#manifest)
    await syncDirectory(this.directory)
  }

  /** For the writer: returns what is staged of a plan, as far as it can be told without block lists. */
  async inspect(plan: Plan, mine: Snapshot, signal: AbortSignal): Promise<StagedState> {
    const before = this.#state
    if (before?.target.hash === plan.target.hash && before.mineHash === mine.manifest.hash) return before
    // An inspection that is cut off has removed things already: nothing is known then.
    this.#state = null
    const state = new StagedState(plan, mine.manifest.hash)
    await this.inspection.adopt(state, before, signal)
    this.#state = state
    return state
  }

  async #list(index: number): Promise<Buffer | null> {
    const target = await this.target()
    return target?.isLarge(index) === true ? this.parts.lists.read(target.file(index).hash) : null
  }

  get #manifest(): string {
    return join(this.directory, 'manifest')
  }
}
