import type { Checkpoint, CopyRecord, VolumeRecord } from '../../model/model.ts'
import { checkpointOf, newerOf, orderOf } from '../record/checkpoint-order.ts'
import { seizureFields } from '../record/lineage.ts'
import type { RecoverPlan } from './plan.ts'

/**
 * The record to write in place of what the registry has (null: nothing). Pure. `kept`: that is not below the disks and stays. Any other text is a
 * line for a person. Never lowers an epoch or a checkpoint.
 */
export function mergeRecord(record: VolumeRecord | null, plan: RecoverPlan): VolumeRecord | 'kept' | string {
  const { id, name, options, createdAt, epochSeen, epoch, holder, last, seizure, copies, refusal } = plan
  if (record === null) {
    if (refusal !== null) return refusal
    const seizures = seizure === null ? [] : [seizure]
    return { id, name, options, createdAt, epoch, holder, last, seizures, copies, removedAt: null }
  }
  if (record.id !== id) {
    return `Volume "${name}": the registry has another volume of that name (id ${record.id}), the disks have ${id}. If the one in the registry is new and empty, remove it (docker volume rm ${name}) and run this again.`
  }
  if (record.epoch >= epochSeen || record.removedAt !== null) return 'kept'
  if (refusal !== null) return refusal
  if (record.last !== null && last !== null && orderOf(record.last, last) === 'conflict') {
    return `Volume "${name}": the registry and the disks have different data under the same checkpoint ${last.epoch}.${last.seq}. Keep the directories volumes/${id} on all hosts and ask for help.`
  }
  const newest = last === null ? record.last : newerOf(record.last, last)
  return {
    ...record,
    epoch: Math.max(record.epoch, epoch),
    holder,
    last: newest,
    ...(seizure === null ? {} : seizureFields(record, { ...seizure, base: newest ?? seizure.base })),
    copies: { ...silentCopies(record, plan), ...copiesAt(copies, newest) },
  }
}

/** Hosts that did not answer keep their entries: a removal must ask them, and they may come back. Nobody counts on them. */
function silentCopies(record: VolumeRecord, { copies }: RecoverPlan): Record<string, CopyRecord> {
  const silent = Object.entries(record.copies).filter(([host]) => copies[host] === undefined)
  return Object.fromEntries(
    silent.map(([host, copy]) => [host, copy.state === 'current' ? { ...copy, state: 'behind' as const } : copy]),
  )
}

function copiesAt(copies: RecoverPlan['copies'], last: Checkpoint | null): Record<string, CopyRecord> {
  return Object.fromEntries(
    Object.entries(copies).map(([host, copy]) => {
      const isAtLast = last !== null && orderOf(checkpointOf(copy), last) === 'same'
      return [host, copy.state === 'current' && !isAtLast ? { ...copy, state: 'behind' as const } : copy]
    }),
  )
}
