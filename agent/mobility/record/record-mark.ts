import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy, RecordMark } from '../../store/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import { isSameTree } from './checkpoint-order.ts'

/** Returns what a disk notes of a record. What a newer version put into the mark `before` stays. */
export function markOf(
  { epoch, holder, last }: Pick<VolumeRecord, 'epoch' | 'holder' | 'last'>,
  before: RecordMark | null,
): RecordMark {
  const isSameHolder = holder !== null && before?.holder?.incarnation === holder.incarnation
  const isSameLast = last !== null && before !== null && isSameTree(before.last, last)
  return {
    ...before,
    epoch,
    holder: isSameHolder ? before.holder : holder && { host: holder.host, incarnation: holder.incarnation },
    last: isSameLast ? before.last : last && { epoch: last.epoch, seq: last.seq, hash: last.hash },
  }
}

/**
 * Whether a record says more of the volume's history than the disk has noted of it.
 * Of a volume in use only the hold counts: every checkpoint changes `last`. A stale read notes nothing.
 */
export function isNews({ recordSeen }: Pick<LocalCopy, 'recordSeen'>, record: VolumeRecord): boolean {
  if (recordSeen === null || record.epoch !== recordSeen.epoch) return record.epoch > (recordSeen?.epoch ?? -1)
  // Within one epoch a volume is held first, and idle from the release on.
  if (record.holder !== null) return false
  return recordSeen.holder !== null || !isSameTree(record.last, recordSeen.last)
}

/**
 * Notes on disk what the registry's record says of the volume.
 * Call it with what this host has read from the registry, never with what another host says. May be repeated.
 */
export async function noteRecord(
  { store }: Pick<Dependencies, 'store'>,
  local: LocalCopy,
  record: VolumeRecord,
): Promise<void> {
  if (record.id !== local.id || !isNews(local, record)) return
  const now = await store.copy(local.id)
  if (now !== null && isNews(now, record)) await store.update(local.id, { recordSeen: markOf(record, now.recordSeen) })
}
