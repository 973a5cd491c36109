import { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import {
  changedHands,
  earlierHeld,
  heldElsewhere,
  holdsNothing,
  leaseLost,
  notFound,
  registryBehind,
  treeTampered,
} from '../errors.ts'
import {
  announceSeizure,
  isTakeOverReady,
  recordAfterTakeOver,
  type TakeOver,
  writeTakeOver,
} from '../failover/takeover.ts'
import { isAt } from '../record/copies.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'
import { findForgotten } from '../recovery/forgotten-data.ts'
import { takeInventory } from '../recovery/inventory.ts'
import { RECONCILE } from '../wakeups.ts'
import { confirmHold, takeBack } from './confirm-hold.ts'
import { surveyUses } from './ended-uses.ts'
import { releaseIfUnused } from './release.ts'

/**
 * Becomes the holder and mounts, or mounts what this host holds already. Runs under the volume's lock, on a record that
 * is idle or says that this host is the holder; `verifiedHash` is what this host's tree was found to be just now. Answers
 * the mountpoint, or why somebody else was first, or LEASE_LOST. `taken`: the record's holder is lost, and this host takes over from it.
 * What it throws, waiting does not mend: COPY_DAMAGED, VOLUME_NOT_FOUND.
 */
export async function holdAndMount(
  context: Context,
  entry: Versioned<VolumeRecord>,
  mountId: string,
  verifiedHash: string | null,
  signal: AbortSignal,
  taken: TakeOver | null = null,
): Promise<string | WherryError> {
  const { store, log } = context.dependencies
  const seen = entry.value
  if (!context.lease.runs) return leaseLost(context, seen.name)
  let local = await store.copy(seen.id)
  if (local === null) {
    if (seen.last !== null || seen.holder !== null) throw holdsNothing(context, seen)
    const forgotten = await findForgotten(context, seen, [await takeInventory(context)])
    if (forgotten !== null) return forgotten
    local = await store.create({ id: seen.id, name: seen.name, options: seen.options })
  }
  if (local.held !== null) {
    // An older hold, of an agent before this one: it may be lost, and its tree is then the only one with what it wrote.
    if (!(await isStillHeld(context, seen, local, signal))) return changedHands(seen.name)
  } else {
    const earlier = await findEarlierHeld(context, seen)
    if (earlier !== null) return earlierHeld(context, seen.name, context.releaseTroubles.of(earlier))
    const held = await intendHold(context, seen, local, verifiedHash, taken)
    if (held === null) return heldElsewhere(context, seen)
    const commit =
      taken === null ? commitHold(context, entry, held, signal) : commitTakeOver(context, entry, held, taken, signal)
    const outcome = await commit
    if (outcome instanceof WherryError) {
      await store.update(seen.id, { held: null })
      return outcome
    }
    local = await store.update(seen.id, { held: { ...held, epoch: outcome.epoch }, epochSeen: outcome.epoch })
    context.confirmed.set(seen.id, { name: seen.name, incarnation: held.incarnation })
    context.guardedVolumes.learn(outcome, context.dependencies.self.id)
    if (taken !== null) announceSeizure(context, outcome)
    log.info({ volume: seen.name, id: seen.id, epoch: outcome.epoch }, 'held')
  }
  try {
    const mountpoint = await attach(context, local, mountId)
    // The watchdog knows of the volume before a container can write to it, and none starts under a lease that is over.
    await context.guardedVolumes.tell()
    if (!context.lease.runs) {
      await detach(context, seen.id, mountId)
      throw leaseLost(context, seen.name)
    }
    context.dependencies.bus.publish(`volume.${seen.id}.held`, {
      name: seen.name,
      host: context.dependencies.self.id,
      epoch: local.held?.epoch,
    })
    return mountpoint
  } catch (error) {
    // Docker sends no Unmount for a Mount that failed: what was held for it must not stay held.
    void releaseIfUnused(context, seen.id)
    throw error
  }
}

/**
 * The id of a removed volume of the same name that is still held here; null: there is none. The engine knows names only:
 * nobody could tell its containers, which are about to be ended, from those of the new volume.
 */
async function findEarlierHeld(context: Context, seen: VolumeRecord): Promise<string | null> {
  const { store } = context.dependencies
  let found = [...context.confirmed].find(([id, { name }]) => id !== seen.id && name === seen.name)?.[0] ?? null
  // Of those that are not confirmed yet, only what is mounted can be in use: few, also on a host with many volumes.
  for (const id of await store.mounted()) {
    if (found !== null || id === seen.id || context.confirmed.has(id)) continue
    const copy = await store.copy(id)
    if (copy?.name === seen.name && copy.held !== null) found = id
  }
  if (found !== null) context.wakeups.wake(RECONCILE)
  return found
}

/**
 * Asks the registry, by a write, about a hold that the disk tells of; one that never came about or is over is
 * forgotten. One that is lost is given up in the background: its tree is read for that, and a Mount must not wait for
 * it (promise 9).
 */
async function isStillHeld(
  context: Context,
  seen: VolumeRecord,
  local: LocalCopy,
  signal: AbortSignal,
): Promise<boolean> {
  const state = await confirmHold(context, local, AbortSignal.any([signal, context.dependencies.signal]))
  if (state === 'held') return true
  // What was written under it is on this disk alone: the hold stays until the record is recovered.
  if (state === 'forgotten') throw registryBehind(context, seen, local)
  if (state === 'lost') giveUpSoon(context, local)
  else if (state === 'unborn') await takeBack(context, local)
  else await context.dependencies.store.update(local.id, { held: null })
  return false
}

/** What is in use is given up by the confirmation of holds, what is not by its release. */
function giveUpSoon(context: Context, local: LocalCopy): void {
  context.confirmed.delete(local.id)
  // Nobody needs what was surrendered any more: the volume has gone on.
  context.surrendered.delete(local.id)
  if (isUnused(context, local)) void releaseIfUnused(context, local.id, true)
  else context.wakeups.wake(RECONCILE)
}

/** Writes down, before asking the registry, under which incarnation this host is about to hold the volume. */
async function intendHold(
  context: Context,
  seen: VolumeRecord,
  local: LocalCopy,
  verifiedHash: string | null,
  taken: TakeOver | null,
): Promise<LocalCopy['held']> {
  if (local.epochSeen > seen.epoch) throw registryBehind(context, seen, local)
  if (taken !== null) {
    if (!isTakeOverReady(local, taken.best) || verifiedHash === null) return null
    if (verifiedHash !== taken.best.hash) throw treeTampered(context, { ...seen, last: taken.best })
    return await writeIntent(context, seen)
  }
  if (seen.holder !== null) return null
  if (seen.last !== null && !isAt(local, seen.last)) return null
  // It was still held here when it was looked at, and has been released since: look again, and compare this time.
  if (seen.last !== null && verifiedHash === null) return null
  if (seen.last !== null && verifiedHash !== seen.last.hash) throw treeTampered(context, seen)
  return await writeIntent(context, seen)
}

/** Null: the copy was found to be damaged in the last moment. */
async function writeIntent({ dependencies }: Context, { id, epoch }: VolumeRecord): Promise<LocalCopy['held']> {
  const held = { epoch: epoch + 1, incarnation: dependencies.newId() }
  const { damaged } = await dependencies.store.update(id, { held })
  if (damaged === null) return held
  await dependencies.store.update(id, { held: null })
  return null
}

/** The compare-and-set that makes this host the holder, or makes sure that it still is (promise 1: a write, never a read). */
async function commitHold(
  context: Context,
  { value: seen, revision }: Versioned<VolumeRecord>,
  held: { epoch: number; incarnation: string },
  signal: AbortSignal,
): Promise<VolumeRecord | WherryError> {
  const { self, clock } = context.dependencies
  let refusal: WherryError | null = null
  const { entry } = await changeVolume(
    context.dependencies,
    seen.name,
    (record) => {
      refusal = null
      if (record === null || record.id !== seen.id || record.removedAt !== null) throw notFound(seen.name)
      if (record.epoch < seen.epoch) return STALE_READ
      // Written once more even if it is ours already: a read may be stale, an acknowledged write is not.
      if (record.holder?.incarnation === held.incarnation) return { ...record }
      if (record.holder !== null || record.epoch !== held.epoch - 1 || record.last?.hash !== seen.last?.hash) {
        refusal = heldElsewhere(context, record)
        return record
      }
      return {
        ...record,
        epoch: held.epoch,
        holder: { host: self.id, incarnation: held.incarnation, since: clock.now().toISOString() },
      }
    },
    signal,
    revision,
  )
  if (refusal !== null) return refusal
  if (entry === null) throw notFound(seen.name)
  return entry.value
}

/** The same from a holder that is lost: its lease is ended first, then the record is written from the revision that was read before. */
async function commitTakeOver(
  context: Context,
  entry: Versioned<VolumeRecord>,
  held: { epoch: number; incarnation: string },
  { best, hosts }: TakeOver,
  signal: AbortSignal,
): Promise<VolumeRecord | WherryError> {
  const next = (record: VolumeRecord) =>
    recordAfterTakeOver(context, record, best, [...hosts, context.dependencies.self.id], held)
  const mine = (record: VolumeRecord) => record.holder?.incarnation === held.incarnation
  return await writeTakeOver(context, entry, next, mine, signal)
}

/** Takes back a use that nobody was told of. */
export async function detach(context: Context, id: string, mountId: string): Promise<void> {
  const { [mountId]: count = 0, ...others } = (await context.dependencies.store.copy(id))?.mounts ?? {}
  await context.dependencies.store.update(id, { mounts: count > 1 ? { ...others, [mountId]: count - 1 } : others })
}

/** Mounts the tree and writes the use down, synced, before Docker hears of it. */
export async function attach(context: Context, local: LocalCopy, mountId: string): Promise<string> {
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
