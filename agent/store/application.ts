import { WherryError } from '../errors.ts'
import type { Checkpoint } from '../model.ts'
import type { LocalCopy } from './contract.ts'
import { commit, committed, dropCommit } from './journal.ts'
import { dropKept, keepTree, loadManifest } from './kept.ts'
import type { Layout } from './layout.ts'
import type { Manifest } from './manifest.ts'
import { planChanges } from './plan.ts'
import { rehearse } from './rehearsal.ts'
import type { Scan } from './scan.ts'
import { orDiskFull, requireSpace } from './space.ts'
import { Stage } from './stage.ts'
import { tickAndSync } from './tick.ts'
import { type FaultPoint, TreeChange } from './tree.ts'

export interface ApplyParts {
  readonly layout: Layout
  readonly volume: string
  readonly scan: (signal: AbortSignal) => Promise<Scan>
  /** Changes the copy's record, durably. */
  readonly update: (change: Partial<Omit<LocalCopy, 'id'>>) => Promise<unknown>
  readonly faultPoint: FaultPoint
}

/**
 * Brings a copy's tree to the staged checkpoint. Steps, each durable before the next: everything staged and synced;
 * COMMIT; `applying`; the tree; every attribute verified, synced; the record; the journal dropped; the stage dropped.
 * A crash before COMMIT leaves the old tree and the stage; after COMMIT, calling this again finishes.
 */
export async function applyStaged(parts: ApplyParts, checkpoint: Checkpoint): Promise<void> {
  const { layout, faultPoint } = parts
  const stage = new Stage(layout.stage)
  const target = await loadStaged(parts, stage, checkpoint)
  let tree: Scan | null = null
  if ((await committed(layout)) === null) {
    tree = await prepare(parts, stage, target)
    await commit(layout, checkpoint)
    faultPoint('committed')
  }
  await parts.update({ applying: true })
  faultPoint('applying')
  tree ??= await parts.scan(new AbortController().signal)
  const change = new TreeChange(parts.volume, layout.data, target, planChanges(target, tree), stage, faultPoint)
  await orDiskFull(layout.directory, parts.volume, () => change.run(tree))
  faultPoint('changed')
  const scan = await change.verify(layout.tick)
  faultPoint('verified')
  await keepTree(layout.directory, 'last', { ...target, entries: scan.entries }, scan.seen)
  await dropKept(layout.directory, 'live')
  faultPoint('kept')
  await parts.update({ checkpoint, applying: false, epochSeen: checkpoint.epoch })
  faultPoint('recorded')
  await dropCommit(layout)
  faultPoint('dropped')
  await stage.drop()
}

async function loadStaged(parts: ApplyParts, stage: Stage, checkpoint: Checkpoint): Promise<Manifest> {
  const target = await loadManifest(stage.manifest)
  if (target === null) {
    throw new WherryError('STAGE_INCOMPLETE', `Nothing has been received for volume ${parts.volume} yet.`, {
      hint: 'Copy it from a host that has it first.',
    })
  }
  if (target.hash === checkpoint.hash) return target
  throw new WherryError(
    'HASH_MISMATCH',
    `What was received of volume ${parts.volume} is not checkpoint ${checkpoint.epoch}.${checkpoint.seq}.`,
    { hint: 'The source has moved on; copy the newest checkpoint.' },
  )
}

/** Everything that can fail without harm: after this only the tree itself is left to change. Answers the tree as it is. */
async function prepare(parts: ApplyParts, stage: Stage, target: Manifest): Promise<Scan> {
  const { layout, volume, faultPoint } = parts
  const signal = new AbortController().signal
  await stage.prepare(signal)
  const tree = await parts.scan(signal)
  const plan = planChanges(target, tree)
  await stage.prune(plan.wanted)
  const staged = await stage.contents()
  let copyBytes = 0
  let missing = 0
  for (const [hash, { entry, uses }] of plan.wanted) {
    if (!staged.has(hash)) missing += 1
    copyBytes += (entry.allocatedBytes ?? entry.sizeBytes) * (uses - 1)
  }
  if (missing > 0) {
    throw new WherryError('STAGE_INCOMPLETE', `${missing} files of volume ${volume} have not been received yet.`, {
      hint: 'Go on with the copy, then try again.',
    })
  }
  await requireSpace(layout.directory, volume, copyBytes)
  await orDiskFull(layout.directory, volume, async () => {
    await rehearse(target, stage.directory)
    for (const [hash, { uses }] of plan.wanted) await stage.makeCopies(hash, uses)
  })
  await tickAndSync(layout.tick)
  faultPoint('staged')
  return tree
}
