import { isDeepStrictEqual } from 'node:util'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'

/**
 * Writes how the containers of a volume are right after its newest Mount, unless that was done.
 * By what differs later, any agent finds uses that have ended and whose Unmount never came.
 * May be repeated; rejects ENGINE_UNREACHABLE.
 */
export async function surveyUses(
  context: Pick<Context, 'dependencies' | 'locks' | 'containerUses'>,
  { id, name }: Pick<LocalCopy, 'id' | 'name'>,
): Promise<void> {
  const mount = context.containerUses.newestMount(id)
  const ground = await context.containerUses.survey(id, name)
  await context.locks.run(id, async () => {
    const now = await context.dependencies.store.copy(id)
    // A Mount that came meanwhile has a survey of its own.
    if (now === null || now.uses.ground !== null || context.containerUses.newestMount(id) !== mount) return
    await context.dependencies.store.update(id, { uses: { ...now.uses, ground } })
  })
}

/**
 * Drops the ended uses of a mounted volume that Docker never unmounted, and releases it then.
 * `copy` as just read. Call it after a refresh of the uses.
 */
export async function dropEndedUses(
  context: Pick<Context, 'dependencies' | 'locks' | 'containerUses' | 'releases' | 'endedUses'>,
  copy: LocalCopy,
  isMounted: boolean,
): Promise<void> {
  const { store, log } = context.dependencies
  if (copy.uses.ground === null) return await surveyUses(context, copy)
  const ground = await context.containerUses.seenSince(copy.name, copy.uses.ground)
  const over = context.containerUses.haveEnded(copy, ground, isMounted)
  if (!over && ground === copy.uses.ground) return
  const dropped = await context.locks.run(copy.id, async () => {
    // A Mount or an Unmount may have come since this copy was read.
    const now = await store.copy(copy.id)
    if (!isDeepStrictEqual([now?.mounts, now?.uses], [copy.mounts, copy.uses])) return false
    // A disk that cannot be written must not make a volume look used for ever.
    if (over) context.endedUses.set(copy.id, copy.mounts)
    await store.update(copy.id, over ? { mounts: {} } : { uses: { ...copy.uses, ground } })
    return over
  })
  if (!dropped) return
  log.info({ volume: copy.name, id: copy.id }, 'uses ended without an Unmount: dropped')
  void context.releases.releaseIfUnused(copy.id)
}
