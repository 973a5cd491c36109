import type { Checkpoint, Seizure, VolumeRecord } from '../model.ts'

/** A host that was away for more take-overs than this keeps its tree as diverged although it may have been gone on from: safe, and never seen. */
const SEIZURES_KEPT = 32

type Place = Pick<Checkpoint, 'epoch' | 'seq'>

/** Checkpoints of one volume in the order in which they were taken: below 0 when `a` is the older. */
export function compareCheckpoints(a: Place, b: Place): number {
  return a.epoch - b.epoch || a.seq - b.seq
}

/** The record's seizures with one more. */
export function withSeizure(record: VolumeRecord, seizure: Seizure): readonly Seizure[] {
  return [...record.seizures, seizure].slice(-SEIZURES_KEPT)
}

/**
 * Whether the cluster went on from a checkpoint that was taken on some host, or from a later one of the same line: then nothing in it is lost. After a seizure
 * from an older checkpoint of that host's epoch what it took later is no part of the volume any more.
 */
export function isInLine(record: VolumeRecord, checkpoint: Place): boolean {
  const after = record.seizures.find((seizure) => seizure.epoch > checkpoint.epoch)
  if (after === undefined) return record.last !== null && compareCheckpoints(checkpoint, record.last) <= 0
  return compareCheckpoints(checkpoint, after.base) <= 0
}
