import type { Checkpoint, CopyRecord, VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'

/** Whether this disk's tree is at a checkpoint, untouched since, not half applied and not known to be damaged. */
export function isAt(local: LocalCopy | null, checkpoint: Checkpoint): boolean {
  if (local === null || local.applying || local.held !== null || local.damaged !== null) return false
  return local.checkpoint?.hash === checkpoint.hash
}

/** The record with one host's copy entry replaced. */
export function withCopy(record: VolumeRecord, host: string, copy: CopyRecord): VolumeRecord {
  return { ...record, copies: { ...record.copies, [host]: copy } }
}

/** The record without one host's copy entry. */
export function withoutCopy(record: VolumeRecord, host: string): VolumeRecord {
  const { [host]: _gone, ...copies } = record.copies
  return { ...record, copies }
}

/** The copies after a new checkpoint was committed on `host`: it is current, whoever was current falls behind. */
export function copiesAfter(record: VolumeRecord, host: string, checkpoint: Checkpoint): Record<string, CopyRecord> {
  const same = record.last?.hash === checkpoint.hash
  const others = Object.entries(record.copies).map(([id, copy]): [string, CopyRecord] => [
    id,
    !same && copy.state === 'current' ? { ...copy, state: 'behind' } : copy,
  ])
  const { epoch, seq, at } = checkpoint
  return {
    ...Object.fromEntries(others),
    [host]: { epoch, seq, state: 'current', at, kept: record.copies[host]?.kept ?? false },
  }
}
