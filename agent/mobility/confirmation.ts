import type { VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { changeVolume } from './commit.ts'
import type { Core } from './core.ts'
import { recordLost } from './refusals.ts'

/** What has become of a hold. */
export type HoldState = 'held' | 'released' | 'lost' | 'unborn'

/** Bound of one confirmation; whoever wants it asks again. */
const CONFIRM_MS = 10_000

/**
 * Finds out by a write whether this host still holds a volume under the hold its disk tells of. `lost`: the volume has gone on elsewhere.
 * `released`: it was given up, and only this disk does not know yet. `unborn`: the hold never reached the registry, and never can. Reads may be stale: each answer rests on an acknowledged write or on an epoch above ours. May be repeated.
 * Rejects REGISTRY_UNAVAILABLE, and COPY_DAMAGED when the registry does not know the volume.
 */
export async function confirmHold(core: Core, local: LocalCopy): Promise<HoldState> {
  const { clock, signal } = core.parts
  const { held } = local
  if (held === null) return 'lost'
  let answer = 'unborn' as HoldState
  const change = (record: VolumeRecord | null): VolumeRecord => {
    if (record === null || record.id !== local.id) throw recordLost(core, local)
    if (record.holder?.incarnation === held.incarnation) {
      answer = 'held'
      return { ...record }
    }
    if (record.epoch < held.epoch) {
      answer = 'unborn'
      return { ...record }
    }
    // Nobody but this host held in that epoch, and ending a hold from outside takes a new one.
    answer = record.epoch === held.epoch && record.holder === null ? 'released' : 'lost'
    return record
  }
  const { entry } = await changeVolume(
    core.parts,
    local.name,
    change,
    AbortSignal.any([signal, clock.deadline(CONFIRM_MS)]),
  )
  if (answer !== 'held' || entry === null) return answer
  core.confirmed.set(local.id, { name: local.name, incarnation: held.incarnation })
  core.guarding.learn(entry.value, core.parts.self.id)
  return 'held'
}
