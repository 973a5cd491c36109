import type { Checkpoint, Trouble, VolumeRecord } from '../../model/model.ts'

/** A hold whose checkpoints are taken. */
export interface CheckpointedHold {
  /** The volume's id. */
  readonly id: string
  readonly name: string
  readonly epoch: number
  readonly incarnation: string
}

/** A checkpoint on its way to the destinations. */
export interface OfferedCheckpoint {
  readonly checkpoint: Checkpoint
  /** The record under which it was taken; while the registry is away, the last one that was read. */
  readonly record: VolumeRecord
  /** Time until the next checkpoint. */
  readonly intervalMs: number
}

/**
 * A destination of the checkpoints of one hold. Hosts with copies are one kind.
 * Only acknowledgements of hosts reach the registry: a destination that is not a host never counts as a copy.
 */
export interface CheckpointSink {
  /** Why the destination lacks the newest checkpoint, a line each; empty: it has it. */
  readonly failures: readonly string[]
  /** The first of them, as other hosts are told; null or missing: nothing is told. */
  readonly trouble?: Trouble | null
  /** Whether the destination takes checkpoints now. Without such a destination none is taken. */
  isOpen(record: VolumeRecord): boolean
  /**
   * Brings a checkpoint to the destination; may be repeated.
   * Resolves when the next checkpoint may be taken. A slower transfer continues until `stop`.
   * The tree is the volume's `spool` while the checkpoint is the newest one here. The mover's thread reads it.
   */
  offer(offered: OfferedCheckpoint, signal: AbortSignal): Promise<void>
  /** Marks what the destination has as incomplete, because changes were missed. May be repeated. */
  distrust(): Promise<void>
  /** Ends what runs. */
  stop(): void
}
