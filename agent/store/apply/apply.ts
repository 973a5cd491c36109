import { closeSync } from 'node:fs'
import { WherryError } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { errnoOf } from '../../sys/failure.ts'
import { STAT_BLOCK_BYTES } from '../../sys/stat.ts'
import type { LocalCopy } from '../contract.ts'
import { orDiskFull, requireSpace } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { DirectoryCursor, openRoot } from '../inode/directory.ts'
import { lstat, movedAway } from '../inode/inode.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { type Plan, planChanges } from '../manifest/plan.ts'
import { scanIdleTree } from '../scan/capture.ts'
import { dropSaved, type SavedTree, saveSnapshot, scannedListsPath } from '../snapshot/saved-snapshot.ts'
import { commit, committed, dropCommit } from '../stage/journal.ts'
import type { Stage } from '../stage/stage.ts'
import type { BlockPool } from '../workers/contract.ts'
import { TreeChange } from './apply-tree.ts'
import { probeSupport } from './probe-support.ts'
import { verifyApplied } from './verify-attributes.ts'

export interface ApplyParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly stage: Stage
  readonly pool: BlockPool
  /** Changes the copy's record, durably. */
  readonly update: (change: Partial<Omit<LocalCopy, 'id'>>) => Promise<unknown>
  readonly faultPoint: FaultPoint
}

/**
 * Brings a copy's tree to the staged checkpoint. Each step is durable before the next.
 * 1. Everything staged is complete and synced.
 * 2. COMMIT is written.
 * 3. The record says `applying`.
 * 4. The tree is changed.
 * 5. Every attribute is verified, and the tree synced.
 * 6. The record names the checkpoint.
 * 7. The journal is dropped, then the stage.
 * A crash before COMMIT leaves the old tree and the stage. After COMMIT, calling this again finishes: it compares
 * the tree anew and does what is left.
 */
export async function applyStaged(parts: ApplyParts, checkpoint: Checkpoint): Promise<void> {
  const { layout, volume, faultPoint, stage } = parts
  const signal = new AbortController().signal
  const target = await loadStaged(parts, checkpoint)
  const mine = await scanIdleTree({ ...parts, sync: () => stage.sync() }, signal)
  const plan = planChanges(target, mine.manifest)
  const missing = await orDiskFull(layout.directory, volume, () => stage.missing(plan, mine, signal))
  if (missing > 0) throw incomplete(volume, missing)
  if ((await committed(layout)) === null) {
    await prepare(parts, plan)
    await commit(layout, checkpoint)
    faultPoint('committed')
  }
  await parts.update({ applying: true })
  faultPoint('applying')
  const change = new TreeChange({ ...parts, data: layout.data, plan, mine })
  await orDiskFull(layout.directory, volume, () => change.run())
  faultPoint('changed')
  await prove(parts, plan, mine)
  faultPoint('kept')
  await parts.update({ checkpoint, applying: false, damaged: null, epochSeen: checkpoint.epoch })
  faultPoint('recorded')
  await dropCommit(layout)
  faultPoint('dropped')
  await stage.drop()
}

async function loadStaged(parts: ApplyParts, checkpoint: Checkpoint): Promise<Manifest> {
  const target = await parts.stage.target()
  if (target === null) {
    throw new WherryError('STAGE_INCOMPLETE', `Nothing has been received for volume ${parts.volume} yet.`, {
      hint: 'Copy it from a host that has it first.',
    })
  }
  if (target.hash === checkpoint.hash) return target
  throw new WherryError(
    'HASH_MISMATCH',
    `The tree received for volume ${parts.volume} is not checkpoint ${checkpoint.epoch}.${checkpoint.seq}.`,
    { hint: 'The source has moved on; copy the newest checkpoint.' },
  )
}

/** Does everything that can fail without harm: after this only the tree itself is left to change. */
async function prepare(parts: ApplyParts, plan: Plan): Promise<void> {
  const { layout, volume, faultPoint } = parts
  await requireSpace(layout.directory, volume, await growthBytes(parts, plan))
  await orDiskFull(layout.directory, volume, () => probeSupport(plan, layout.directory))
  await parts.stage.sync()
  faultPoint('staged')
}

/**
 * Scans the changed tree, compares it with the target and saves it as the last checkpoint's.
 * Rejects COPY_DAMAGED.
 */
async function prove(parts: ApplyParts, plan: Plan, before: SavedTree): Promise<void> {
  const { layout, volume, stage, pool, faultPoint } = parts
  const { directory, data } = layout
  const tree = await verifyApplied({ volume, data, lists: scannedListsPath(directory), plan, before, stage, pool })
  faultPoint('verified')
  await orDiskFull(directory, volume, () => saveSnapshot(directory, 'last', tree, null, faultPoint))
  await dropSaved(directory, 'live')
  await dropSaved(directory, 'base')
}

/**
 * Returns how much writing in place takes at most beyond what is staged.
 * That is for blocks where this host's file ends or has a hole. (A file system that never overwrites, btrfs, frees
 * the old blocks as it goes.)
 */
async function growthBytes(parts: ApplyParts, plan: Plan): Promise<number> {
  const { stage, layout } = parts
  let bytes = 0
  using staged = new Places(stage.blocksRoot, plan.target)
  using own = new Places(layout.data, plan.mine)
  for (const index of plan.all('blocks')) {
    const more = plan.target.file(index).sizeBytes - own.allocatedBytes(plan.partner(index))
    bytes += Math.min(staged.allocatedBytes(index), Math.max(0, more))
  }
  return bytes
}

/** Reads the sizes of entries below a directory of ours. */
class Places implements Disposable {
  readonly #root: number | null
  readonly #cursor: DirectoryCursor | null

  constructor(path: string, manifest: Manifest) {
    this.#root = openIfThere(path)
    this.#cursor = this.#root === null ? null : new DirectoryCursor(this.#root, manifest)
  }

  /** 0 for what is not there. */
  allocatedBytes(index: number): number {
    if (this.#cursor === null) return 0
    try {
      return Number(lstat(this.#cursor.locate(index)).blocks) * STAT_BLOCK_BYTES
    } catch (error) {
      if (!movedAway(error)) throw error
      return 0
    }
  }

  [Symbol.dispose](): void {
    this.#cursor?.[Symbol.dispose]()
    if (this.#root !== null) closeSync(this.#root)
  }
}

function incomplete(volume: string, missing: number): WherryError {
  return new WherryError('STAGE_INCOMPLETE', `${missing} files of volume ${volume} have not been received yet.`, {
    hint: 'Continue the copy, then try again.',
  })
}

function openIfThere(path: string): number | null {
  try {
    return openRoot(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return null
  }
}
