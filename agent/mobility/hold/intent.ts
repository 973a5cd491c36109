import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { changedHands, heldElsewhere, leaseLost, registryBehind } from '../errors.ts'
import { ownHost, ownLabel } from '../own-host.ts'
import { isAt } from '../record/copies.ts'
import { findForgotten } from '../recovery/forgotten-data.ts'
import { takeInventory } from '../recovery/inventory.ts'
import { changedAtRest } from '../replication/errors.ts'
import { RECONCILE } from '../wakeups.ts'
import { confirmHold, retractHold } from './confirm-hold.ts'
import { earlierHeld, holdsNothing } from './errors.ts'

/** The tree that a hold starts from. */
export interface StartingTree {
  /** What it has to be; null: the volume has no checkpoint yet. */
  readonly checkpoint: Checkpoint | null
  /** What the tree on this disk was found to be just now; null: nobody compared it. */
  readonly hash: string | null
}

export type Hold = NonNullable<LocalCopy['held']>

/**
 * This host's copy, and the hold that was written to this disk for it.
 * Null: it had a hold, which stands.
 */
interface Intent {
  readonly local: LocalCopy
  readonly hold: Hold | null
}

/**
 * Writes an intended hold to this disk before the registry is written.
 * An agent that is killed after the registry's write finds its hold by its incarnation. One that is killed before it
 * finds that the hold never began.
 * A hold that this disk has already is confirmed by a write. `tree` null: the record names a holder.
 */
export async function intendHold(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'wakeups'
    | 'lease'
    | 'guardedVolumes'
    | 'releases'
    | 'releaseTroubles'
    | 'stateDisk'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
  seen: VolumeRecord,
  tree: StartingTree | null,
  signal: AbortSignal,
): Promise<Intent | WherryError> {
  if (!context.lease.runs) return leaseLost(seen.name, ownHost(context))
  const local = await openCopy(context, seen)
  if (local instanceof WherryError) return local
  // A hold of an earlier agent may be lost, and its tree is then the only one with what it wrote.
  if (local.held !== null) {
    return (await isStillHeld(context, seen, local, signal)) ? { local, hold: null } : changedHands(seen.name)
  }
  const earlier = await findEarlierHeld(context, seen)
  if (earlier !== null) return earlierHeld(seen.name, ownLabel(context), context.releaseTroubles.of(earlier))
  if (local.epochSeen > seen.epoch) throw registryBehind(seen, `the disk of ${ownLabel(context)}`, local.epochSeen)
  if (tree === null) return heldElsewhere(seen, context.hosts, context.dependencies.self.id)
  const { checkpoint, hash } = tree
  if (checkpoint !== null) {
    // It was still held here at the last scan, and has been released since: scan again, and compare this time.
    if (!isAt(local, checkpoint) || hash === null)
      return heldElsewhere(seen, context.hosts, context.dependencies.self.id)
    if (hash !== checkpoint.hash) throw changedAtRest({ ...seen, last: checkpoint }, ownLabel(context), [])
  }
  const hold = await writeIntent(context, seen)
  return hold === null ? heldElsewhere(seen, context.hosts, context.dependencies.self.id) : { local, hold }
}

/** This host's copy; a new volume gets one here. */
async function openCopy(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'guardedVolumes' | 'confirmed'>,
  seen: VolumeRecord,
): Promise<LocalCopy | WherryError> {
  const { store } = context.dependencies
  const local = await store.copy(seen.id)
  if (local !== null) return local
  if (seen.last !== null || seen.holder !== null) throw holdsNothing(seen, ownLabel(context))
  const forgotten = await findForgotten(context, seen, [await takeInventory(context)])
  return forgotten ?? (await store.create({ id: seen.id, name: seen.name, options: seen.options }))
}

/**
 * Returns the id of a removed volume of the same name that is still held here; null: there is none.
 * The engine knows names only: its containers, which are about to end, cannot be told from those of the new volume.
 */
async function findEarlierHeld(
  context: Pick<Context, 'dependencies' | 'wakeups' | 'confirmed'>,
  seen: VolumeRecord,
): Promise<string | null> {
  const { store } = context.dependencies
  let found = [...context.confirmed].find(([id, { name }]) => id !== seen.id && name === seen.name)?.[0] ?? null
  // Of unconfirmed holds only mounted ones can be in use: few, also on a host with many volumes.
  for (const id of await store.mounted()) {
    if (found !== null || id === seen.id || context.confirmed.has(id)) continue
    const copy = await store.copy(id)
    if (copy?.name === seen.name && copy.held !== null) found = id
  }
  if (found !== null) context.wakeups.wake(RECONCILE)
  return found
}

/**
 * Confirms by a write a hold that the disk has; one that never began or has ended is dropped.
 * One that is lost is given up in the background: its tree is read for that, and a Mount must not wait for it
 * (promise 9).
 */
async function isStillHeld(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'wakeups' | 'guardedVolumes' | 'releases' | 'confirmed' | 'surrendered' | 'endedUses'
  >,
  seen: VolumeRecord,
  local: LocalCopy,
  signal: AbortSignal,
): Promise<boolean> {
  const confirming = confirmHold(context, local, AbortSignal.any([signal, context.dependencies.signal]))
  const state = await confirming.catch((error: unknown) => {
    // The Mount read the record a moment ago: the next try finds out whether the volume was removed, or made anew.
    if (codeOf(error) === 'COPY_DAMAGED') return 'unknown'
    throw error
  })
  if (state === 'unknown') return false
  if (state === 'held') return true
  // What was written under it is on this disk alone: the hold stays until the record is recovered.
  if (state === 'forgotten') throw registryBehind(seen, `the disk of ${ownLabel(context)}`, local.epochSeen)
  if (state === 'lost') giveUpSoon(context, local)
  else if (state === 'unborn') await retractHold(context, local)
  else await context.dependencies.store.update(local.id, { held: null })
  return false
}

/** A hold in use is given up by the confirmation of holds, one without uses by its release. */
function giveUpSoon(
  context: Pick<Context, 'wakeups' | 'releases' | 'confirmed' | 'surrendered' | 'endedUses'>,
  local: LocalCopy,
): void {
  context.confirmed.delete(local.id)
  // The surrendered tree is of no use any more: the volume was taken over.
  context.surrendered.delete(local.id)
  if (isUnused(context, local)) void context.releases.releaseIfUnused(local.id, true)
  else context.wakeups.wake(RECONCILE)
}

/** Writes the intended hold to this disk. Null: the copy was just found damaged. */
async function writeIntent(
  { dependencies }: Pick<Context, 'dependencies'>,
  { id, epoch }: VolumeRecord,
): Promise<Hold | null> {
  const held = { epoch: epoch + 1, incarnation: dependencies.newId() }
  const { damaged } = await dependencies.store.update(id, { held })
  if (damaged === null) return held
  await dependencies.store.update(id, { held: null })
  return null
}

/** The registry was not written, and nothing was mounted under the intended hold. */
export async function dropIntent(
  context: Pick<Context, 'dependencies'>,
  { id }: VolumeRecord,
  refusal: WherryError,
): Promise<WherryError> {
  await context.dependencies.store.update(id, { held: null })
  return refusal
}
