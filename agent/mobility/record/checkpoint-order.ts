import type { Checkpoint, CopyRecord } from '../../model/model.ts'

/**
 * What identifies a checkpoint of a volume.
 * Epoch and number order, the hash is the identity (promise 14).
 */
export type CheckpointIdentity = Pick<Checkpoint, 'epoch' | 'seq' | 'hash'>

/** A checkpoint as a record names it. Without a hash: an older release wrote it. */
export interface NamedCheckpoint {
  readonly epoch: number
  readonly seq: number
  readonly hash?: string | undefined
}

/**
 * How one checkpoint stands to another of the same volume.
 * `conflict`: same epoch and number, different hash; at most one of the two belongs to the volume.
 * `unproven`: same epoch and number, and the hash of one is not known.
 */
export type CheckpointOrder = 'older' | 'same' | 'conflict' | 'unproven' | 'newer'

/** Compares two checkpoints of one volume. No other place orders checkpoints. */
export function orderOf(one: CheckpointIdentity, other: CheckpointIdentity): Exclude<CheckpointOrder, 'unproven'>
export function orderOf(one: NamedCheckpoint, other: NamedCheckpoint): CheckpointOrder
export function orderOf(one: NamedCheckpoint, other: NamedCheckpoint): CheckpointOrder {
  const ahead = one.epoch - other.epoch || one.seq - other.seq
  if (ahead !== 0) return ahead < 0 ? 'older' : 'newer'
  if (one.hash === undefined || other.hash === undefined) return 'unproven'
  return one.hash === other.hash ? 'same' : 'conflict'
}

/**
 * Whether two checkpoints of one volume are the same tree, or both are none.
 * The hash alone decides: it is the identity (promise 14).
 */
export function isSameTree(
  one: { readonly hash: string } | null | undefined,
  other: { readonly hash: string } | null | undefined,
): boolean {
  return one?.hash === other?.hash
}

/** Returns the newer of two checkpoints; the first one if neither is. */
export function newerOf(one: Checkpoint | null, other: Checkpoint): Checkpoint {
  return one === null || orderOf(other, one) === 'newer' ? other : one
}

/** Returns `known` if it is that very checkpoint: what a newer version put there stays. Else `checkpoint`. */
export function keepKnown(known: Checkpoint | null, checkpoint: Checkpoint): Checkpoint {
  return known !== null && orderOf(known, checkpoint) === 'same' ? known : checkpoint
}

/**
 * Returns the checkpoint of a copy, as the record has it.
 * A hash that was written with another epoch or number belongs to an earlier checkpoint.
 */
export function checkpointOf({ epoch, seq, checkpoint }: CopyRecord): NamedCheckpoint {
  const isOfThis = checkpoint !== undefined && checkpoint.epoch === epoch && checkpoint.seq === seq
  return isOfThis ? checkpoint : { epoch, seq }
}

/**
 * Returns the fields of a copy's entry that name its checkpoint, with all that the entry had `before`.
 * So what a newer version put there stays.
 */
export function copyFields<T extends CopyRecord | undefined>(
  { epoch, seq, hash }: CheckpointIdentity,
  before?: T,
): T & Pick<CopyRecord, 'epoch' | 'seq' | 'checkpoint'> {
  const named = isSameTree(before?.checkpoint, { hash }) ? before?.checkpoint : undefined
  return { ...before, epoch, seq, checkpoint: { ...named, epoch, seq, hash } } as T & Pick<CopyRecord, 'epoch' | 'seq'>
}
