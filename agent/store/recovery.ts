import type { Logger } from 'pino'
import { applyStaged } from './apply/apply.ts'
import { dropProbe } from './apply/probe-support.ts'
import type { LocalCopy } from './contract.ts'
import { finishDiverge } from './disk/set-aside.ts'
import { committed } from './stage/journal.ts'
import type { OpenVolume } from './volume.ts'

/**
 * Finishes what a crash has cut off of one volume, see Store.recover. May be repeated.
 * `found` is its record as it was read.
 * `requireUnmounted` rejects while the tree is mounted: it must not be changed then.
 */
export async function recoverVolume(
  volume: OpenVolume,
  found: LocalCopy,
  requireUnmounted: () => Promise<void>,
  log: Logger,
): Promise<void> {
  const copy = await finishDiverge(volume.divergingParts(), found)
  await volume.spool(copy.name).recover(copy)
  await dropProbe(volume.layout.directory)
  const checkpoint = await committed(volume.layout)
  const about = { volume: copy.name, id: copy.id }
  if (checkpoint !== null) {
    log.info({ ...about, epoch: checkpoint.epoch, seq: checkpoint.seq }, 'resuming unfinished apply')
    await requireUnmounted()
    await applyStaged(volume.applyParts(copy.name), checkpoint)
  } else if (copy.applying) {
    log.warn(about, 'copy is between two checkpoints: it must be filled again')
  } else if (copy.damaged === null) {
    await volume.stage(copy.name).dropApplied(copy.checkpoint)
  }
}
