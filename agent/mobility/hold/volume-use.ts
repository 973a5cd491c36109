import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { surveyUses } from './ended-uses.ts'

/** Mounts the tree and returns its mountpoint. The use is on this disk, synced, on return. */
export async function addUse(
  context: Pick<Context, 'dependencies' | 'locks' | 'containerUses' | 'releaseTroubles' | 'surrendered' | 'endedUses'>,
  local: LocalCopy,
  mountId: string,
): Promise<string> {
  const { store } = context.dependencies
  const counted = local.mounts[mountId] ?? 0
  const repeated = counted > 0 && context.containerUses.mayRepeat(local.id, local.name)
  const uses = context.containerUses.mounted(local)
  const mounts = { ...local.mounts, [mountId]: repeated ? counted : counted + 1 }
  // The hold was confirmed by a write since it was surrendered, if it was: what that allowed another host is void.
  context.surrendered.delete(local.id)
  context.endedUses.delete(local.id)
  await store.update(local.id, { mounts, uses })
  context.releaseTroubles.clear(local.id)
  try {
    // Not mounted twice, and above all not made to wait for a capture that reads the tree.
    const mountpoint = (await store.mounted()).has(local.id) ? store.mountpoint(local.id) : await store.mount(local.id)
    // In the background: while the engine starts, it waits for this Mount's answer. Without its answer housekeeping asks again.
    surveyUses(context, local).catch(() => undefined)
    return mountpoint
  } catch (error) {
    await store.update(local.id, { mounts: local.mounts, uses: local.uses })
    throw error
  }
}

/** Takes back a use that nobody was told of. */
export async function dropUse(context: Pick<Context, 'dependencies'>, id: string, mountId: string): Promise<void> {
  const { [mountId]: count = 0, ...others } = (await context.dependencies.store.copy(id))?.mounts ?? {}
  await context.dependencies.store.update(id, { mounts: count > 1 ? { ...others, [mountId]: count - 1 } : others })
}
