import { isDeepStrictEqual } from 'node:util'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { releaseIfUnused } from './release.ts'

/**
 * Writes down how the containers of a volume are right after its newest Mount, unless that was done. By what differs later, uses are found to be over whose Unmount
 * never came, whatever agent looks then. May be repeated; rejects ENGINE_UNREACHABLE.
 */
export async function surveyUses(core: Context, { id, name }: Pick<LocalCopy, 'id' | 'name'>): Promise<void> {
  const mount = core.uses.newestMount(id)
  const ground = await core.uses.survey(id, name)
  await core.locks.run(id, async () => {
    const now = await core.parts.store.copy(id)
    // A Mount that came meanwhile has a survey of its own.
    if (now === null || now.uses.ground !== null || core.uses.newestMount(id) !== mount) return
    await core.parts.store.update(id, { uses: { ...now.uses, ground } })
  })
}

/** Drops the uses of a mounted volume that are over although Docker never unmounted it, and releases it then. `copy` as just read; call it after a refresh of the uses. */
export async function dropEndedUses(core: Context, copy: LocalCopy, isMounted: boolean): Promise<void> {
  const { store, log } = core.parts
  if (copy.uses.ground === null) return await surveyUses(core, copy)
  const ground = await core.uses.seenSince(copy.name, copy.uses.ground)
  const over = core.uses.isOver(copy, ground, isMounted)
  if (!over && ground === copy.uses.ground) return
  const dropped = await core.locks.run(copy.id, async () => {
    // A Mount or an Unmount may have come since this copy was read.
    const now = await store.copy(copy.id)
    if (!isDeepStrictEqual([now?.mounts, now?.uses], [copy.mounts, copy.uses])) return false
    // A disk that cannot be written must not make a volume look used for ever.
    if (over) core.overUses.set(copy.id, copy.mounts)
    await store.update(copy.id, over ? { mounts: {} } : { uses: { ...copy.uses, ground } })
    return over
  })
  if (!dropped) return
  log.warn(
    { volume: copy.name, id: copy.id },
    'no container uses the volume any more, although Docker never unmounted it',
  )
  void releaseIfUnused(core, copy.id)
}
