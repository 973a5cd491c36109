import type { Context } from '../context.ts'
import { forEachVolume } from '../for-each-volume.ts'
import { WANTED_AFTER_MOUNT_MS } from '../hold/mount-attempt.ts'
import { isEmptyTree, isForged } from '../record/copies.ts'
import { withdrawCopy } from '../record/report-copy.ts'

/**
 * What was sent ahead, or copied in part, to a host where nobody wants it any more never became a copy. It goes, so that
 * hosts do not collect volumes they never had. After a start it is kept for as long as a Mount may come back for it. What the record says is kept here
 * goes on filling however long it takes.
 */
export async function dropPartialCopies(
  context: Pick<Context, 'dependencies' | 'locks' | 'copyManager' | 'pendingMounts'>,
  startedMs: number,
): Promise<void> {
  const { store, clock } = context.dependencies
  if (clock.elapsedMs() - startedMs < WANTED_AFTER_MOUNT_MS) return
  await forEachVolume((await store.copies()).copies, async ({ id, name }) => {
    await context.locks.run(id, async () => {
      const local = await store.copy(id)
      if (local === null || local.held !== null || local.applying) return
      // What an older release left of a hold that never came about is nothing either.
      if (local.checkpoint !== null && !(isForged(local) && isEmptyTree(local.checkpoint))) return
      // The trash is emptied one day; what the cluster never got stays until a person removes it (promise 7).
      if (local.diverged.length > 0) return
      if (context.copyManager.job(id) !== undefined || context.pendingMounts.has(name)) return
      if (await withdrawCopy(context.dependencies, local)) await store.trash(id)
    })
  })
}
