import { isDeepStrictEqual } from 'node:util'
import type { Checkpoint, CopyRecord, VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { compareCheckpoints, isInLine } from './lineage.ts'

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

/** Whether a copy is known to be at exactly that checkpoint. */
export function hasCheckpoint(copy: CopyRecord, { epoch, seq }: Pick<Checkpoint, 'epoch' | 'seq'>): boolean {
  return copy.state === 'current' && copy.epoch === epoch && copy.seq === seq
}

/** Whether a tree at this checkpoint has writes that the cluster did not go on from when it was taken over: they are kept before anything is put in their place (promise 7). */
export function isLeftBehind(record: VolumeRecord, checkpoint: Pick<Checkpoint, 'epoch' | 'seq'>): boolean {
  // By `last` alone it cannot be told: a copy may have a checkpoint that the registry has not heard of yet.
  return record.seizures.some(({ epoch }) => epoch > checkpoint.epoch) && !isInLine(record, checkpoint)
}

/**
 * The record after other hosts said which checkpoints of this hold they have on their disks: `last` is the newest of them (it never goes back), copies are
 * current at it or behind. The very same object when nothing changes.
 */
export function withAnswers(
  record: VolumeRecord,
  holder: string,
  answers: ReadonlyMap<string, Checkpoint>,
  at: string,
): VolumeRecord {
  const counted = [...answers].filter(([host]) => {
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
  return { epoch: 0, seq: 0, state: 'filling', at, kept: true }
}

function newerOf(a: Checkpoint | null, b: Checkpoint): Checkpoint {
  return a === null || compareCheckpoints(b, a) > 0 ? b : a
}

function copyAfter(copy: CopyRecord, said: Checkpoint | undefined, last: Checkpoint, at: string): CopyRecord {
  if (copy.state === 'diverged') return copy
  // What a host says of itself is right, also when it is older than what was known: it may have begun anew after a take-over.
  const { epoch, seq } = said ?? copy
  const current = epoch === last.epoch && seq === last.seq && (said !== undefined || copy.state === 'current')
  const fallen = said !== undefined || copy.state === 'current' ? 'behind' : copy.state
  const state = current ? 'current' : fallen
  return state === copy.state && epoch === copy.epoch && seq === copy.seq ? copy : { ...copy, epoch, seq, state, at }
}
