import { closeSync, ftruncateSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { Bitmap } from '../blocks/bitmap.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, isHash, sameHash } from '../blocks/block-size.ts'
import type { ZeroHashes } from '../blocks/zero-hashes.ts'
import { setAttributes } from '../inode/attributes.ts'
import { at } from '../inode/directory.ts'
import type { Mirror } from '../inode/mirror.ts'
import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockPool } from '../workers/contract.ts'
import { hashFile, isEmptyBlock, ownBlocks } from './local-blocks.ts'
import { StagedFile } from './staged-file.ts'
import type { StagedLists } from './staged-lists.ts'
import type { Basis, StagedState } from './staged-state.ts'

export interface StageInspectionParts {
  readonly pool: BlockPool
  readonly lists: StagedLists
  /** Mirror of whole files, mirror of changed blocks, this host's own tree. */
  readonly whole: Mirror
  readonly blocks: Mirror
  readonly tree: Mirror
  readonly zeros: ZeroHashes
}

/** Disk space that a large file still needs. */
export interface StageNeed {
  /** Bytes to be staged. */
  readonly stageBytes: number
  /** Bytes to be written once more, into this host's file where that has nothing yet. */
  readonly growthBytes: number
  /** All bytes to be received, those that are staged already included. */
  readonly totalBytes: number
}

const NOTHING: StageNeed = { stageBytes: 0, growthBytes: 0, totalBytes: 0 }

/** Finds out what of a plan is staged and correct. */
export class StageInspection {
  readonly #parts: StageInspectionParts

  constructor(parts: StageInspectionParts) {
    this.#parts = parts
  }

  /** Returns the mirror that a file of the plan is staged in. */
  mirrorOf(state: StagedState, index: number): Mirror {
    return state.plan.step(index) === 'blocks' ? this.#parts.blocks : this.#parts.whole
  }

  /** Takes over what is known of the mirrors, removes what the plan does not need, hashes unknown small files. */
  async adopt(state: StagedState, before: StagedState | null, signal: AbortSignal): Promise<void> {
    const { plan } = state
    await this.#parts.whole.prune(state.target, (index) => plan.step(index) === 'file', state.present)
    await this.#parts.blocks.prune(state.target, (index) => plan.step(index) === 'blocks', state.present)
    const restyled = before === null ? [] : state.inherit(before)
    for (const index of restyled) this.#settle(state, index)
    const unknown = before === null ? presentSmall(state) : [].values()
    await forEachLimit(groupSmallFiles(state.target, unknown), 2 * this.#parts.pool.threads, async (group) => {
      signal.throwIfAborted()
      await this.#hashGroup(state, group)
    })
  }

  async #hashGroup(state: StagedState, group: readonly number[]): Promise<void> {
    const { target } = state
    const facts = group.map((index) => target.file(index))
    const names = group.map((index) => target.name(index))
    const fd = this.#parts.whole.directory(target, target.parent(group[0] ?? 0))
    try {
      const sizes = facts.map(({ sizeBytes }) => sizeBytes)
      const pace = new YieldLoop()
      const { hashes, outcomes } = await this.#parts.pool.hashFiles(fd, names, sizes)
      for (const [nth, index] of group.entries()) {
        const hash = facts[nth]?.hash
        if (outcomes[nth] !== 0 || hash === undefined || !isHash(hashes, nth, hash)) continue
        settle(state, index, at(fd, target.name(index)))
        if (pace.due()) await pace.rest()
      }
    } finally {
      closeSync(fd)
    }
  }

  /**
   * Compares a large file with its list: which blocks are staged, and which this host's own file has.
   * Returns what is still needed; null: the list is not here. A file that needs nothing is completed.
   * `connected`: the source can be asked, so what only it knows is left to it.
   */
  async large(
    state: StagedState,
    mine: Snapshot,
    index: number,
    connected: boolean,
    signal: AbortSignal,
  ): Promise<StageNeed | null> {
    const list = this.#parts.lists.read(state.target.file(index).hash)
    if (list === null) return null
    const own =
      state.plan.step(index) === 'blocks' ? await ownBlocks(state.plan, index, mine, this.#parts, signal) : null
    let file = state.inspected.has(index) ? (state.files.get(index) ?? null) : null
    if (file === null && !state.complete.has(index)) {
      file = freshFile(state, index, list, own)
      if (state.present.has(index)) await this.#staged(state, file, list, connected, signal)
      if (own !== null || file.dirty) state.files.set(index, file)
    }
    state.bases.delete(index)
    state.inspected.add(index)
    if (file?.complete() === true) this.complete(state, file)
    return needOf(state, mine, index, { file, list, own }, this.#parts.zeros)
  }

  /** Marks staged blocks: by what was known of them, else by hashing them. */
  async #staged(
    state: StagedState,
    file: StagedFile,
    list: Buffer,
    connected: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    file.dirty = true
    const basis = state.bases.get(file.index)
    const known = basis === undefined ? null : this.#known(basis, file, list)
    if (known !== null) {
      for (let block = 0; block < file.count; block++) if (known(block)) file.staged.add(block)
      return
    }
    const fd = this.mirrorOf(state, file.index).open(state.target, file.index)
    try {
      const hashes = await hashFile(this.#parts.pool, fd, file.sizeBytes, signal)
      const zeros = this.#parts.zeros.of(file.sizeBytes)
      for (let block = 0; block < file.count; block++) {
        // Only the source knows whether zeros are a hole. Requesting them again costs nothing.
        const open = connected && isEmptyBlock(list, block, file.count, zeros)
        if (!open && sameHash(hashes, list, block)) file.staged.add(block)
      }
    } finally {
      closeSync(fd)
    }
  }

  #known(basis: Basis, file: StagedFile, list: Buffer): ((block: number) => boolean) | null {
    const was = (block: number) => basis.file === null || basis.file.staged.has(block)
    if (basis.hash.equals(file.hash) && basis.sizeBytes === file.sizeBytes) return was
    if (blockBytesOf(basis.sizeBytes) !== file.blockBytes) return null
    const before = this.#parts.lists.read(basis.hash)
    const count = blockCountOf(basis.sizeBytes)
    if (before === null || before.length !== count * HASH_BYTES) return null
    return (block) => block < count && was(block) && sameHash(before, list, block)
  }

  /** Sets size and attributes of a large file whose blocks are all correct. All writes to it have ended. */
  complete(state: StagedState, file: StagedFile): void {
    const fd = this.mirrorOf(state, file.index).open(state.target, file.index)
    try {
      ftruncateSync(fd, file.sizeBytes)
    } finally {
      closeSync(fd)
    }
    this.#settle(state, file.index)
    if (file.own === null) state.files.delete(file.index)
  }

  #settle(state: StagedState, index: number): void {
    this.mirrorOf(state, index).within(state.target, index, (place) => settle(state, index, place))
  }
}

/** Sets the attributes of a correctly staged file that will be moved into the tree, and counts it as complete. */
function settle(state: StagedState, index: number, place: Buffer): void {
  const entry = state.target.body(index)
  if (entry.kind === 'file' && state.plan.step(index) === 'file') setAttributes(place, { ...entry, flags: 0 })
  state.present.add(index)
  state.complete.add(index)
}

function* presentSmall(state: StagedState): Generator<number> {
  for (const index of state.smallMissing()) if (state.present.has(index)) yield index
}

/**
 * Returns a large file of which nothing is staged.
 * `own`: the list of this host's file that is changed in place.
 */
export function freshFile(state: StagedState, index: number, list: Buffer, own: Buffer | null): StagedFile {
  const bits = own === null ? null : new Bitmap(list.length / HASH_BYTES)
  const file = new StagedFile(state.target, index, bits)
  if (own === null) return file
  for (let block = 0; block < file.count; block++) if (sameHash(own, list, block)) bits?.add(block)
  return file
}

function needOf(
  state: StagedState,
  mine: Snapshot,
  index: number,
  about: { file: StagedFile | null; list: Buffer; own: Buffer | null },
  zeroHashes: ZeroHashes,
): StageNeed {
  const file = about.file ?? new StagedFile(state.target, index, null)
  const whole = about.file === null
  const zeros = zeroHashes.of(file.sizeBytes)
  const mineBytes = about.own === null ? 0 : mine.manifest.file(state.plan.partner(index)).sizeBytes
  let { stageBytes, growthBytes, totalBytes } = NOTHING
  for (let block = 0; block < file.count; block++) {
    if (isEmptyBlock(about.list, block, file.count, zeros) || file.own?.has(block) === true) continue
    const bytes = file.bytesOf(block)
    totalBytes += bytes
    if (!whole && !file.staged.has(block)) stageBytes += bytes
    const grows = block * file.blockBytes >= mineBytes
    if (about.own !== null && (grows || isEmptyBlock(about.own, block, file.count, zeros))) growthBytes += bytes
  }
  return { stageBytes, growthBytes, totalBytes }
}
