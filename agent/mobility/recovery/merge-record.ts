import type { Checkpoint, CopyRecord, VolumeRecord } from '../../model/model.ts'
import { checkpointOf, copyFields, newerOf, orderOf } from '../record/checkpoint-order.ts'
import { besideCheckpoint, withoutCheckpoint } from '../record/copies.ts'
import { seizureFields } from '../record/lineage.ts'
import type { RecoverPlan } from './plan.ts'
import { loneAgainstRecord, nameTaken, recordConflict } from './problems.ts'

/**
 * Returns the record to write in place of what the registry has (null: nothing). Pure.
 * `kept`: the registry's record is not below the disks and stays. Any other text is a line for an operator.
 * Never lowers an epoch or a checkpoint.
 */
export function mergeRecord(record: VolumeRecord | null, plan: RecoverPlan): VolumeRecord | 'kept' | string {
  const { id, name, options, createdAt, epochSeen, epoch, holder, last, seizure, copies, alone, refusal } = plan
  if (record === null) {
    if (refusal !== null) return refusal
    const seizures = seizure === null ? [] : [seizure]
    const record = { id, name, options, createdAt, epoch, holder, last, seizures, copies, removedAt: null }
    // Nobody but one host knows the line: what others have of older epochs is kept beside it.
    return alone === null ? record : { ...record, seizuresCut: { epoch: last?.epoch ?? 0, hosts: [] } }
  }
  if (record.id !== id) {
    return nameTaken(name, record.id, id)
  }
  if (record.epoch >= epochSeen || record.removedAt !== null) return 'kept'
  if (alone !== null) return loneAgainstRecord(name, alone, epochSeen, record.epoch)
  if (refusal !== null) return refusal
  if (record.last !== null && last !== null && orderOf(record.last, last) === 'conflict') {
    return recordConflict(name, id, last)
  }
  const newest = last === null ? record.last : newerOf(record.last, last)
  return {
    ...record,
    epoch: Math.max(record.epoch, epoch),
    holder,
    last: newest,
    ...(seizure === null ? {} : seizureFields(record, { ...seizure, base: newest ?? seizure.base })),
    copies: { ...silentCopies(record, plan), ...copiesAt(copies, newest, record) },
  }
}

/**
 * Hosts that did not reply keep their entries: a removal must ask them, and they may come back.
 * They do not count as current.
 */
function silentCopies(record: VolumeRecord, { copies, isUnguarded }: RecoverPlan): Record<string, CopyRecord> {
  const silent = Object.entries(record.copies).filter(([host]) => copies[host] === undefined)
  return Object.fromEntries(
    silent.map(([host, copy]) => {
      if (isUnguarded) return [host, withoutCheckpoint(copy)]
      return [host, copy.state === 'current' ? { ...copy, state: 'behind' as const } : copy]
    }),
  )
}

function copiesAt(
  copies: RecoverPlan['copies'],
  last: Checkpoint | null,
  record: VolumeRecord,
): Record<string, CopyRecord> {
  return Object.fromEntries(
    Object.entries(copies).map(([host, copy]): [string, CopyRecord] => {
      const { checkpoint, ...unnamed } = copy
      const isAtLast = last !== null && orderOf(checkpointOf(copy), last) === 'same'
      const state = copy.state === 'current' && !isAtLast ? 'behind' : copy.state
      const known = record.copies[host]
      const kept = checkpoint === undefined ? besideCheckpoint(known) : copyFields(checkpoint, known)
      return [host, { ...kept, ...unnamed, state }]
    }),
  )
}
