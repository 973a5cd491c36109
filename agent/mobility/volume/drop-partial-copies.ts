import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { forEachVolume, paceOf } from '../for-each-volume.ts'
import { WANTED_AFTER_MOUNT_MS } from '../hold/mount-attempt.ts'
import { isEmptyTree, isForged } from '../record/copies.ts'
import { withdrawCopy } from '../record/report-copy.ts'

/**
 * Drops what was pre-seeded or copied in part and never became a copy.
 * So hosts do not collect volumes. After a start it is kept for as long as a Mount may come back for it. What the
 * record keeps here is filled however long that takes.
 */
export async function dropPartialCopies(
  context: Pick<Context, 'dependencies' | 'locks' | 'copyManager' | 'pendingMounts' | 'volumeTroubles'>,
  startedMs: number,
): Promise<void> {
  const { store, clock } = context.dependencies
  if (clock.elapsedMs() - startedMs < WANTED_AFTER_MOUNT_MS) return
  const drop = async ({ id, name }: LocalCopy) => {
    await context.locks.run(id, async () => {
      const local = await store.copy(id)
      if (local === null || local.held !== null || local.applying) return
      // A leftover of an older release's hold that never began counts as nothing.
      if (local.checkpoint !== null && !(isForged(local) && isEmptyTree(local.checkpoint))) return
      // The trash is emptied one day; writes that the cluster does not have stay until an operator removes them
      // (promise 7).
      if (local.diverged.length > 0) return
      if (context.copyManager.job(id) !== undefined || context.pendingMounts.has(name)) return
      if (await withdrawCopy(context.dependencies, local)) await store.trash(id)
    })
  }
  await forEachVolume((await store.copies()).copies, drop, paceOf(context, 'drop a partial copy'))
}
