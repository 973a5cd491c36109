import type { RemovedRecord, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { endContainers } from '../hold/give-up-hold.ts'
import { lostHolders } from '../record/lineage.ts'
import { readVolume } from '../record/update-record.ts'
import { nameNotFreed } from './errors.ts'

/** What discarding the copy of a removed volume touches. */
export type DiscardContext = Pick<
  Context,
  | 'dependencies'
  | 'locks'
  | 'copyManager'
  | 'checkpointScheduler'
  | 'containerUses'
  | 'releaseTroubles'
  | 'volumeTroubles'
  | 'confirmed'
  | 'surrendered'
  | 'givenSeqs'
  | 'endedUses'
>

/** How often a removal retries to free the name. */
const POLL_MS = 200
/** For a holder that gave nothing up to read the mark: without that it keeps what it holds. */
const SEEN_MS = 1_000

/** Finishes a removal after the mark, and frees the name. Any host may do it, any number of times. */
export async function finishRemoval(
  context: Pick<Context, 'dependencies'>,
  record: VolumeRecord,
  signal: AbortSignal,
): Promise<void> {
  const { registry, clock, self } = context.dependencies
  const { id, name, removedAt, lost } = record
  const tombstone: RemovedRecord = { id, name, removedAt: removedAt ?? '', hosts: hostsWithTree(record), lost }
  if (record.holder !== null && record.holder.host !== self.id) await clock.sleep(SEEN_MS, signal)
  while (!signal.aborted) {
    const kept = tombstone.hosts.length === 0 || (await registry.addRemoved(tombstone)).outcome !== 'unknown'
    if (kept) {
      const now = await readVolume(context.dependencies, name, signal)
      if (now === null || now.value.id !== id) return
      if (now.value.removedAt !== null && (await registry.deleteVolume(name, now.revision)).outcome === 'done') return
    }
    await clock.sleep(POLL_MS, signal)
  }
  throw nameNotFreed(name)
}

/**
 * Returns the hosts with a tree.
 * One that was lost before its first checkpoint reached the registry is not among the record's copies.
 */
function hostsWithTree(record: VolumeRecord): string[] {
  const { copies, holder, lost } = record
  // A removal by force does not wait for the holder.
  const holders = [...lostHolders(record), ...(lost ?? []), ...(holder === null ? [] : [holder.host])]
  return [...new Set([...Object.keys(copies), ...holders])]
}

/**
 * Moves this host's copy of a removed volume to the trash, and kills its containers.
 * The copy of a host that was given up (`lost`) is set aside, where nothing deletes it, and announced (promise 7).
 * So is a tree under a confirmed hold, unless this host has read the mark of the removal (`isMarked`).
 * The caller has proof of the removal; `isProven` is asked again under the volume's lock, where a hold may have begun.
 * False: it was not proven any more, and nothing was touched. May be repeated.
 */
export async function discardRemoved(
  context: DiscardContext,
  { id, lost }: Pick<RemovedRecord, 'id' | 'lost'>,
  isMarked: boolean,
  isProven: (local: LocalCopy) => boolean = () => true,
): Promise<boolean> {
  const { store, log, self } = context.dependencies
  const job = context.copyManager.job(id)
  job?.stop()
  await job?.done
  return await context.locks.run(id, async () => {
    const local = await store.copy(id)
    if (local !== null && !isProven(local)) return false
    const isDoubtful = context.confirmed.has(id) && !isMarked
    // Nothing that was noted of its hold outlives it.
    context.releaseTroubles.clear(id)
    context.surrendered.delete(id)
    context.givenSeqs.delete(id)
    context.endedUses.delete(id)
    if (local === null) return true
    const startMs = context.dependencies.clock.elapsedMs()
    try {
      if (local.held !== null) await endHold(context, local)
      await store.unmount(id)
    } catch (error) {
      // A later Mount of this name reports it.
      context.releaseTroubles.note(local, error, startMs)
      throw error
    }
    if (isDoubtful || lost?.includes(self.id)) await setAside(context, local)
    else {
      await store.trash(id)
      log.info({ volume: local.name, id }, 'removed volume moved to the trash')
    }
    context.volumeTroubles.clear(id)
    return true
  })
}

async function setAside(context: Pick<Context, 'dependencies'>, { id, name }: LocalCopy): Promise<void> {
  const { store, log, bus, self } = context.dependencies
  const directory = await store.setAside(id)
  log.error(
    { volume: name, id, directory },
    'removed volume set aside: this host was given up or held it; copy out what you need and delete it',
  )
  bus.publish(`volume.${id}.set_aside`, { name, host: self.id, directory })
}

/**
 * Returns a line for each copy of a removed volume that was set aside here.
 * It stays until an operator deletes it.
 */
export async function describeSetAside(context: Pick<Context, 'dependencies'>): Promise<string[]> {
  const found = (await context.dependencies.store.removed()).filter(({ until }) => until === null)
  return found.map(({ name, id, directory }) =>
    [
      `Volume "${name}" (${id}) was removed while this host was given up or held it:`,
      `what it had is in ${directory} of the state directory.`,
      'Copy out what you need, then delete that directory.',
    ].join(' '),
  )
}

/**
 * Ends a hold of a removed volume.
 * It was removed by force, or given up or taken over while this host was away, or released by an agent that was
 * killed before it wrote that.
 * A new volume of the same name may be in use here, and engines know names only: then only the containers that a
 * fence has noted are killed.
 */
async function endHold(
  context: Pick<Context, 'dependencies' | 'checkpointScheduler' | 'containerUses' | 'confirmed'>,
  local: LocalCopy,
): Promise<void> {
  const { store, pauses, log } = context.dependencies
  log.warn({ volume: local.name, id: local.id }, 'held volume was removed: hold ended, containers killed')
  context.confirmed.delete(local.id)
  const { copies } = await store.copies()
  const isNameTaken = copies.some(({ id, name, held }) => id !== local.id && name === local.name && held !== null)
  if (isNameTaken) await pauses.kill(({ volumes }) => volumes.includes(local.id))
  else await endContainers(context, local)
  await context.checkpointScheduler.stop(local.id)
  await store.unmount(local.id)
  await store.update(local.id, { held: null, mounts: {} })
}
