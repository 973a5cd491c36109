import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { surveyUses } from './ended-uses.ts'

/** Mounts the tree and returns its mountpoint. The use is on this disk, synced, on return. */
export async function addUse(
  context: Pick<
    Context,
    'dependencies' | 'locks' | 'containerUses' | 'releaseTroubles' | 'volumeTroubles' | 'surrendered' | 'endedUses'
  >,
  local: LocalCopy,
  mountId: string,
): Promise<string> {
  const { store } = context.dependencies
  const counted = local.mounts[mountId] ?? 0
  const repeated = counted > 0 && context.containerUses.mayRepeat(local.id, local.name)
  const uses = context.containerUses.mounted(local)
  const mounts = { ...local.mounts, [mountId]: repeated ? counted : counted + 1 }
  // If the hold was surrendered, a write has confirmed it since: the other host's permission is void.
  context.surrendered.delete(local.id)
  context.endedUses.delete(local.id)
  await store.update(local.id, { mounts, uses })
  context.releaseTroubles.clear(local.id)
  context.volumeTroubles.clear(local.id)
  try {
    // It is not mounted twice, and above all does not wait for a capture that reads the tree.
    const mountpoint = (await store.mounted()).has(local.id) ? store.mountpoint(local.id) : await store.mount(local.id)
    // In the background: while the engine starts, it waits for this Mount's reply. After a failure the reconcile loop
    // asks again.
    surveyUses(context, local).catch(() => undefined)
    return mountpoint
  } catch (error) {
    await store.update(local.id, { mounts: local.mounts, uses: local.uses })
    throw error
  }
}

/** Drops a use that was never reported to Docker. */
export async function dropUse(context: Pick<Context, 'dependencies'>, id: string, mountId: string): Promise<void> {
  const { [mountId]: count = 0, ...others } = (await context.dependencies.store.copy(id))?.mounts ?? {}
  await context.dependencies.store.update(id, { mounts: count > 1 ? { ...others, [mountId]: count - 1 } : others })
}
