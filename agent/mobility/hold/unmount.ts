import type { Context } from '../context.ts'
import { RECONCILE } from '../wakeups.ts'

/**
 * Drops one use of a volume on this host; the last one starts the release, in the background.
 * Only this disk is read, and only this host's hold can be touched (promise 8).
 */
export async function unmountVolume(
  context: Pick<Context, 'dependencies' | 'locks' | 'wakeups' | 'containerUses' | 'releases'>,
  name: string,
  mountId: string,
): Promise<void> {
  const { store } = context.dependencies
  const { copies } = await store.copies()
  const local = copies.find((copy) => copy.name === name && copy.mounts[mountId] !== undefined)
  if (local === undefined) return
  const left = await context.locks.run(local.id, async () => {
    const now = await store.copy(local.id)
    const { mounts: before, uses } = now ?? local
    const { [mountId]: count = 0, ...others } = before
    const mounts = count > 1 ? { ...others, [mountId]: count - 1 } : others
    await store.update(local.id, { mounts, uses: context.containerUses.unmounted(uses) })
    return Object.keys(mounts).length
  })
  if (left === 0) void context.releases.releaseIfUnused(local.id)
  else context.wakeups.wake(RECONCILE)
}
