import { WherryError } from '../errors.ts'
import type { RemovedRecord, VolumeRecord } from '../model.ts'
import type { Versioned } from '../registry/contract.ts'
import type { LocalCopy } from '../store/contract.ts'
import { changeVolume, readVolume } from './commit.ts'
import type { Core } from './core.ts'
import { forEach } from './for-each.ts'
import { heldElsewhere, notFound } from './refusals.ts'
import { endContainers } from './returning.ts'
import { removeHeld } from './surrender.ts'

/** Docker waits longer than this for a removal; a release that is under way ends sooner for all but huge volumes. */
const REMOVE_MS = 20_000
/** How often a removal looks again while the holder releases. */
const LOOK_MS = 200

/**
 * Removes an idle volume from the cluster: marks the record (the point of no return), leaves a tombstone for the hosts
 * with copies, frees the name, puts this host's copy into the trash. Other hosts follow by themselves, also after they
 * were away. VOLUME_IN_USE, VOLUME_NOT_FOUND. May be repeated; durable on return.
 */
export async function removeVolume(core: Core, name: string): Promise<void> {
  const { parts } = core
  const signal = AbortSignal.any([parts.signal, parts.clock.deadline(REMOVE_MS)])
  for (;;) {
    const entry = await readVolume(parts, name, signal)
    if (entry === null) throw notFound(name)
    const record = entry.value
    if (record.holder === null) {
      const marked = await markRemoved(core, record, signal)
      if (marked !== null) {
        await finishRemoval(core, marked, signal)
        await putAway(core, marked.id)
        return
      }
    } else if (
      signal.aborted ||
      core.hosts.containers(record.holder.host, record.id).length > 0 ||
      !releasing(core, record)
    ) {
      throw inUse(core, record)
    } else {
      // What is removed needs no final checkpoint: the holder gives it up as it is.
      const marked = await removeHeld(core, entry, signal)
      if (marked !== null) {
        await finishRemoval(core, marked, signal)
        await putAway(core, marked.id)
        return
      }
    }
    await core.wakes.wait(name, (until) => parts.clock.sleep(LOOK_MS, until), signal)
  }
}

/** Whether the holder is a host that lives: without containers there, it is about to release. */
function releasing(core: Core, record: VolumeRecord): boolean {
  const { holder } = record
  return holder !== null && (holder.host === core.parts.self.id || core.hosts.alive(holder.host))
}

async function markRemoved(core: Core, seen: VolumeRecord, signal: AbortSignal): Promise<VolumeRecord | null> {
  const { entry } = await changeVolume(
    core.parts,
    seen.name,
    (record) => {
      if (record === null || record.id !== seen.id) return record
      if (record.holder !== null || record.removedAt !== null) return record
      return { ...record, removedAt: core.parts.clock.now().toISOString() }
    },
    signal,
  )
  if (entry === null || entry.value.id !== seen.id) throw notFound(seen.name)
  return entry.value.removedAt === null ? null : entry.value
}

/** The steps after the mark; any host may do them, any number of times. Frees the name on return. */
export async function finishRemoval(core: Core, record: VolumeRecord, signal: AbortSignal): Promise<void> {
  const { registry, clock } = core.parts
  const { id, name, removedAt } = record
  const tombstone: RemovedRecord = { id, name, removedAt: removedAt ?? '', hosts: hostsWithTree(record) }
  while (!signal.aborted) {
    const kept = tombstone.hosts.length === 0 || (await registry.addRemoved(tombstone)).outcome !== 'unknown'
    if (kept) {
      const now = await readVolume(core.parts, name, signal)
      if (now === null || now.value.id !== id) return
      if (now.value.removedAt !== null && (await registry.deleteVolume(name, now.revision)).outcome === 'done') return
    }
    await clock.sleep(LOOK_MS, signal)
  }
  throw new WherryError(
    'REGISTRY_UNAVAILABLE',
    `Volume "${name}" is marked as removed, but the registry did not free its name in time.`,
    {
      hint: 'It is finished in the background as soon as the registry answers.',
    },
  )
}

/** A holder that was lost before its first checkpoint reached the registry has a tree that the record's copies do not name. */
function hostsWithTree({ copies, seizures }: VolumeRecord): string[] {
  const lost = seizures.map(({ from }) => from).filter((from) => from !== '')
  return [...new Set([...Object.keys(copies), ...lost])]
}

/** Moves this host's copy of a removed volume to the trash. The caller has proof of the removal. */
async function putAway(core: Core, id: string): Promise<void> {
  const { store, log } = core.parts
  const job = core.copying.job(id)
  job?.stop()
  await job?.done
  await core.locks.run(id, async () => {
    const local = await store.copy(id)
    if (local === null) return
    if (local.held !== null) await endHold(core, local)
    await store.unmount(id)
    await store.trash(id)
    log.info({ volume: local.name, id }, 'removed volume moved to the trash')
  })
}

/**
 * Ends a hold that only this disk still tells of: nobody held the volume when it was removed, so it was taken over while this host was away, or released by an agent
 * that did not live to write that down. A new volume of the same name may be in use here, and engines know names only: then just those containers are ended that a fence has noted.
 */
async function endHold(core: Core, local: LocalCopy): Promise<void> {
  const { store, pauses, log } = core.parts
  log.warn(
    { volume: local.name, id: local.id },
    'a volume that this host held while it was away was removed: its hold here is over',
  )
  core.confirmed.delete(local.id)
  const { copies } = await store.copies()
  const isNameTaken = copies.some(({ id, name, held }) => id !== local.id && name === local.name && held !== null)
  if (isNameTaken) await pauses.kill(({ volumes }) => volumes.includes(local.id))
  else await endContainers(core, local)
  await core.checkpointing.stop(local.id)
  await store.unmount(local.id)
  await store.update(local.id, { held: null, mounts: {} })
}

/** Acts on tombstones that name this host, then takes it off them; the last host deletes the tombstone. */
export async function clearTombstones(core: Core, tombstones: readonly Versioned<RemovedRecord>[]): Promise<void> {
  const { registry, self } = core.parts
  await forEach(tombstones, async ({ value, revision }) => {
    if (!value.hosts.includes(self.id)) return
    await putAway(core, value.id)
    const hosts = value.hosts.filter((host) => host !== self.id)
    // A lost race or a lost answer is seen and mended at the next look.
    if (hosts.length === 0) await registry.deleteRemoved(value.id, revision)
    else await registry.updateRemoved({ ...value, hosts }, revision)
  })
}

function inUse(core: Core, record: VolumeRecord): WherryError {
  const why = heldElsewhere(core, record)
  return new WherryError('VOLUME_IN_USE', `${why.message} It was not removed.`, {
    hint: 'Remove the containers or the service that use it first.',
  })
}
