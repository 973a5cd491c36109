import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import { ownLabel } from '../own-host.ts'
import { isOnlyIntended } from '../record/copies.ts'
import { changeVolume } from '../record/update-record.ts'
import { recordLost } from './errors.ts'

/**
 * What has become of a hold.
 * `lost`: the volume was taken over elsewhere.
 * `released`: it was given up, and only this disk does not show it yet.
 * `unborn`: it was intended, this disk never saw it confirmed, and it cannot begin any more: nothing was mounted
 * under it.
 * `forgotten`: it was confirmed, and the registry has lost that.
 */
export type HoldState = 'held' | 'released' | 'lost' | 'unborn' | 'forgotten'

/** Bound of one confirmation; the caller asks again. */
const CONFIRM_MS = 10_000

/**
 * Finds out by a write whether this host still holds a volume under the hold its disk has.
 * Reads may be stale: each result rests on an acknowledged write or on an epoch that is not below ours. May be
 * repeated.
 * Rejects REGISTRY_UNAVAILABLE, also when `signal` aborts, and COPY_DAMAGED when the registry does not know the
 * volume.
 */
export async function confirmHold(
  context: Pick<Context, 'dependencies' | 'hosts' | 'guardedVolumes' | 'confirmed'>,
  local: LocalCopy,
  signal = context.dependencies.signal,
): Promise<HoldState> {
  const { clock } = context.dependencies
  const { held } = local
  if (held === null) return 'lost'
  const cameAbout = !isOnlyIntended(local)
  let state = 'unborn' as HoldState
  const change = (record: VolumeRecord | null): VolumeRecord => {
    if (record === null || record.id !== local.id) throw recordLost(local, ownLabel(context))
    if (record.holder?.incarnation === held.incarnation) {
      state = 'held'
      return { ...record }
    }
    if (record.epoch < held.epoch) {
      state = cameAbout ? 'forgotten' : 'unborn'
      return { ...record }
    }
    // Ending a hold from outside takes a new epoch.
    const isReleased = record.epoch === held.epoch && record.holder === null
    state = !cameAbout ? 'unborn' : isReleased ? 'released' : 'lost'
    return record
  }
  const { entry } = await changeVolume(
    context.dependencies,
    local.name,
    change,
    AbortSignal.any([signal, clock.deadline(CONFIRM_MS)]),
  )
  if (state !== 'held' || entry === null) return state
  // An earlier agent was killed before it wrote that. From here on something may be mounted under the hold.
  if (local.epochSeen < held.epoch) await context.dependencies.store.update(local.id, { epochSeen: held.epoch })
  context.confirmed.set(local.id, { name: local.name, incarnation: held.incarnation })
  context.guardedVolumes.learn(entry.value, context.dependencies.self.id)
  return 'held'
}

/**
 * Whether the registry shows a later hold or takeover than ours.
 * A read may be stale, but an epoch above ours proves it. Rejects REGISTRY_UNAVAILABLE: nobody can tell.
 */
export async function hasMovedOn(
  { registry }: Pick<Dependencies, 'registry'>,
  { id, name, held }: LocalCopy,
): Promise<boolean> {
  const record = (await registry.volume(name))?.value
  return record?.id === id && held !== null && record.epoch > held.epoch
}

/** The same of any volume held here. Rejects as `hasMovedOn`. */
export async function hasAnyMovedOn(dependencies: Pick<Dependencies, 'store' | 'registry'>): Promise<boolean> {
  for (const copy of (await dependencies.store.copies()).copies)
    if (copy.held !== null && (await hasMovedOn(dependencies, copy))) return true
  return false
}

/**
 * Drops an intended hold that is `unborn`: nothing of it stays, above all no checkpoint.
 * Runs under the volume's lock. May be repeated; durable on return.
 */
export async function retractHold(
  context: Pick<Context, 'dependencies' | 'confirmed'>,
  local: LocalCopy,
): Promise<void> {
  const { store, log } = context.dependencies
  context.confirmed.delete(local.id)
  await store.update(local.id, { held: null, mounts: {} })
  log.info({ volume: local.name, id: local.id, epoch: local.held?.epoch }, 'intended hold retracted')
}
