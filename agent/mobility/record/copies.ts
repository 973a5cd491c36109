import { isDeepStrictEqual } from 'node:util'
import type { Checkpoint, CopyRecord, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import {
  type CheckpointIdentity,
  checkpointOf,
  copyFields,
  isSameTree,
  type NamedCheckpoint,
  newerOf,
  orderOf,
} from './checkpoint-order.ts'
import { standingOf } from './lineage.ts'

/** Epoch and number of a copy that has no data yet. */
export const NO_CHECKPOINT = { epoch: 0, seq: 0 } as const

/**
 * Whether a disk's checkpoint does not belong to the volume.
 * Its epoch never began as far as the disk knows.
 * Older releases took one when they gave up a hold that never began, under a name that the next holder's first
 * checkpoint gets as well.
 */
export function isForged({ checkpoint, epochSeen }: Pick<LocalCopy, 'checkpoint' | 'epochSeen'>): boolean {
  return checkpoint !== null && checkpoint.epoch > epochSeen
}

/** Whether the tree is an empty root directory: all that is left of a new volume that was never used. */
export function isEmptyTree({ files, bytes }: Checkpoint): boolean {
  return files === 0 && bytes === 0
}

/** Whether this disk's tree is at a checkpoint: not held, half applied or known to be damaged. */
export function isAt(local: LocalCopy | null, checkpoint: Checkpoint): boolean {
  if (local === null || local.applying || local.held !== null || local.damaged !== null) return false
  return isSameTree(local.checkpoint, checkpoint)
}

/** Returns the record with one host's copy entry replaced. */
export function withCopy(record: VolumeRecord, host: string, copy: CopyRecord): VolumeRecord {
  return { ...record, copies: { ...record.copies, [host]: copy } }
}

/** Returns the record without one host's copy entry. */
export function withoutCopy(record: VolumeRecord, host: string): VolumeRecord {
  const { [host]: _gone, ...copies } = record.copies
  return { ...record, copies }
}

/** Returns what a copy's entry has beside its checkpoint: what a newer version put there stays. */
export function besideCheckpoint(copy: CopyRecord | undefined): Partial<CopyRecord> {
  const { checkpoint: _, ...rest }: Partial<CopyRecord> = copy ?? {}
  return rest
}

/** Returns an entry with which the volume cannot be taken over; the host fetches the next checkpoint. */
export function withoutCheckpoint(copy: CopyRecord): CopyRecord {
  const { checkpoint: _, ...rest } = copy
  return { ...rest, ...NO_CHECKPOINT, state: 'filling' }
}

/**
 * Returns the copies after a new checkpoint on `host`.
 * That one is current, those that were current are behind.
 */
export function copiesAfter(record: VolumeRecord, host: string, checkpoint: Checkpoint): Record<string, CopyRecord> {
  const others = Object.entries(record.copies).map(([id, copy]): [string, CopyRecord] => [
    id,
    copy.state === 'current' && !mayHaveCheckpoint(copy, checkpoint) ? { ...copy, state: 'behind' } : copy,
  ])
  return {
    ...Object.fromEntries(others),
    [host]: {
      ...copyFields(checkpoint, record.copies[host]),
      state: 'current',
      at: checkpoint.at,
      kept: record.copies[host]?.kept ?? false,
    },
  }
}

/** Whether the record names a checkpoint of this copy that the volume could be taken over with. */
export function isKnownCopy(copy: CopyRecord | undefined): boolean {
  return copy !== undefined && copy.seq > 0 && copy.state !== 'diverged'
}

/**
 * Whether a holder knows by this record that the volume could be taken over from it.
 * Only then is it fenced.
 * A copy on a host that is away counts: that host may be back before the holder is.
 */
export function hasCopyElsewhere(record: VolumeRecord, holder: string): boolean {
  return Object.entries(record.copies).some(([host, copy]) => host !== holder && isKnownCopy(copy))
}

/** Whether a copy is known, by its hash, to be at exactly that checkpoint. */
export function hasCheckpoint(copy: CopyRecord | undefined, checkpoint: CheckpointIdentity): boolean {
  return copy?.state === 'current' && orderOf(checkpointOf(copy), checkpoint) === 'same'
}

/**
 * The same where an entry of an older release, without a hash, counts as well.
 * Callers compare the tree before they use it.
 */
export function mayHaveCheckpoint(copy: CopyRecord | undefined, checkpoint: CheckpointIdentity): boolean {
  if (copy?.state !== 'current') return false
  const order = orderOf(checkpointOf(copy), checkpoint)
  return order === 'same' || order === 'unproven'
}

/**
 * Whether a tree at this checkpoint has writes that the cluster does not have.
 * It is kept before another takes its place (promise 7). A checkpoint newer than `last` does not count: a copy may
 * have one that the registry does not know yet.
 */
export function isLeftBehind(record: VolumeRecord, checkpoint: NamedCheckpoint): boolean {
  const standing = standingOf(record, checkpoint)
  return standing === 'left behind' || standing === 'conflict'
}

/**
 * Returns the record after other hosts replied which checkpoints of this hold they have.
 * `last` becomes the newest of them and never goes back; copies are current at it or behind.
 * Returns the very same object when nothing changes.
 */
export function withReplies(
  record: VolumeRecord,
  holder: string,
  replies: ReadonlyMap<string, Checkpoint>,
  at: string,
): VolumeRecord {
  const counted = [...replies].filter(([host]) => {
    const copy = record.copies[host]
    return host !== holder && copy !== undefined && copy.state !== 'diverged'
  })
  const newest = counted.map(([, checkpoint]) => checkpoint).reduce(newerOf, record.last)
  if (newest === null || counted.length === 0) return record
  const said = new Map([...counted, [holder, newest] as const])
  const entries = { [holder]: unknownCopy(at), ...record.copies }
  const copies = Object.entries(entries).map(
    ([host, copy]) => [host, copyAfter(copy, said.get(host), newest, at)] as const,
  )
  const next: VolumeRecord = { ...record, last: newest, copies: Object.fromEntries(copies) }
  return isDeepStrictEqual(next, record) ? record : next
}

function unknownCopy(at: string): CopyRecord {
  return { ...NO_CHECKPOINT, state: 'filling', at, kept: true }
}

function copyAfter(copy: CopyRecord, said: Checkpoint | undefined, last: Checkpoint, at: string): CopyRecord {
  if (copy.state === 'diverged') return copy
  // A host's own reply is right, also when it is older than what was known: it may have restarted its copy after a
  // takeover.
  if (said === undefined) {
    return copy.state !== 'current' || mayHaveCheckpoint(copy, last) ? copy : { ...copy, state: 'behind', at }
  }
  const state = orderOf(said, last) === 'same' ? 'current' : 'behind'
  if (state === copy.state && orderOf(said, checkpointOf(copy)) === 'same') return copy
  return { ...copyFields(said, copy), state, at }
}

/**
 * Whether the disk has a hold that was intended and never confirmed.
 * The epoch is written after the acknowledged write, and before anything is mounted.
 */
export function isOnlyIntended({ held, epochSeen, mounts }: LocalCopy): boolean {
  return held !== null && epochSeen < held.epoch && Object.keys(mounts).length === 0
}

/** Whether a copy is known, by its hash, to be at the volume's newest committed checkpoint. */
export function isNewest({ last }: VolumeRecord, copy: CopyRecord | undefined): boolean {
  return last !== null && hasCheckpoint(copy, last)
}

/**
 * The same where an entry of an older release, without a hash, counts as well.
 * Nothing may be dropped because of it.
 */
export function mayBeNewest({ last }: VolumeRecord, copy: CopyRecord | undefined): boolean {
  return last !== null && mayHaveCheckpoint(copy, last)
}
