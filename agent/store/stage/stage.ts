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
import { StageInspection, type SurveyParts } from './inspect-stage.ts'
import { dropCommit } from './journal.ts'
import { ownBlocks } from './local-blocks.ts'
import { StageSync } from './stage-sync.ts'
import { StagedLists } from './staged-lists.ts'
import { StagedState } from './staged-state.ts'

/** What lists of earlier targets may add to those of the present one before they are thrown away. */
const OLD_LISTS_BYTES = 64 * 1024 * 1024

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
 *   this host's file.
 */
export class Stage {
  readonly directory: string
  /** Path of the mirror of whole files. */
  readonly newRoot: string
  /** Path of the mirror of changed blocks. */
  readonly blocksRoot: string
  /** Block lists of the target by its indexes, for large files whose step is `file` or `blocks`; null for all others (this host's own lists have those). */
  readonly lists: BlockLists = { list: (index) => this.#list(index) }
  /** For the writer. */
  readonly parts: SurveyParts
  readonly survey: StageInspection
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
    this.survey = new StageInspection(this.parts)
    this.#sync = new StageSync(layout, volume, () => this.drop())
  }

  /** The manifest that is staged; null when there is none or it cannot be read. From memory where it is known. */
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
   * How many files of a plan (steps `file` and `blocks`) are not staged completely. What is not known to be good is hashed again;
   * what the plan does not want is removed from the mirrors. After 0 the mirrors are what apply may use; not synced.
   * `plan.mine` must be `mine.manifest`, and `plan.target` what `target()` answers. May be repeated; cheap when the same was answered before.
   */
  async missing(plan: Plan, mine: Snapshot, signal: AbortSignal): Promise<number> {
    const state = await this.look(plan, mine, signal)
    for (const index of state.large()) {
      if (!state.surveyed.has(index)) await this.survey.large(state, mine, index, false, signal)
    }
    return state.needed - state.complete.count
  }

  /**
   * The block hashes of this host's version of a file whose step is `blocks`, as if it had the target's size already (cut off, or
   * longer by zeros): one hash for each block of the target. From `mine.lists` where block sizes agree, else the file is hashed.
   * On replay after a crash do not use this but hash the file as it is now: `pool.hashBlocks(fd, target's sizeBytes, 0, count)`
   * answers the same kind of list.
   */
  async ownList(plan: Plan, index: number, mine: Snapshot, signal: AbortSignal): Promise<Buffer> {
    return await ownBlocks(plan, index, mine, this.parts, signal)
  }

  /**
   * Runs of blocks of target file `index` in which `own` (a list as `ownList` answers it) is not what the target says: these have to be copied from
   * `blocks/<path>` to the same places, holes as holes (pool.copyRanges), after the file got its new size. Runs are not limited in
   * length. Rejects STAGE_INCOMPLETE when the target's list is not here.
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

  /** Call before the first staged file is moved away: what is known is forgotten, and the next look finds out anew. */
  forget(): void {
    this.#state = null
  }

  /**
   * Writes all that was staged and applied to the disk; answers T, see `readClockAndSync`. Call it first before anything is staged: it then rejects
   * if any data since could not be written (DISK_FULL, or SYSTEM_CALL_FAILED for a failing disk), whoever else was told of
   * that; the stage is dropped then, and an apply that had begun is given up: the copy stays `applying` until it was filled again.
   */
  sync(): Promise<bigint> {
    return this.#sync.sync()
  }

  /** Gives back what is held open. The stage may be used again. */
  close(): Promise<void> {
    return this.#sync.close()
  }

  /** Removes all that is staged. Safe to repeat. */
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
   * After a crash: removes what is left of a stage that was applied (`checkpoint` is the copy's), or whose removal had begun: it has no manifest.
   * What is staged for another checkpoint stays.
   */
  async dropApplied(checkpoint: Checkpoint | null): Promise<void> {
    const target = await this.target()
    if (target === null || target.hash === checkpoint?.hash) await this.drop()
    // Nobody may want it for long.
    else this.#target = null
  }

  /**
   * For the writer: makes `target` what is staged for; what was staged for another is looked at with the next plan. Durable on return. An
   * apply that was cut off and never finished is given up for it: the copy stays `applying` until it has been applied.
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
    // Only now: a manifest that does not fit on the disk must not cost the apply that could still be finished.
    await dropCommit(this.#layout)
    await rename(unfinished, this.#manifest)
    await syncDirectory(this.directory)
  }

  /** For the writer: what is staged of a plan, as far as it can be told without block lists. */
  async look(plan: Plan, mine: Snapshot, signal: AbortSignal): Promise<StagedState> {
    const before = this.#state
    if (before?.target.hash === plan.target.hash && before.mineHash === mine.manifest.hash) return before
    // A look that is cut off has removed things already: nothing is known then.
    this.#state = null
    const state = new StagedState(plan, mine.manifest.hash)
    await this.survey.believe(state, before, signal)
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
