import type { HostRecord, RemovedRecord, VolumeRecord } from '../model/model.ts'

/** A value with the registry revision it was read or written at. */
export interface Versioned<T> {
  readonly value: T
  readonly revision: number
}

/**
 * A write to the registry has three outcomes, and callers must handle all three. `unknown` means the answer was lost:
 * the write may have happened, may still happen, or may never happen. Read back, or try again with the same expected
 * revision (a compare-and-set is safe to repeat: at most one attempt can win).
 */
export type Write<T> =
  | { readonly outcome: 'done'; readonly entry: Versioned<T> }
  | { readonly outcome: 'refused' }
  | { readonly outcome: 'unknown'; readonly cause: Error }

/**
 * Who holds what. Reads may be stale (no nats-server has linearizable reads), so nothing is decided on a read: a
 * decision counts when its compare-and-set write came back `done`. A write that is `done` is on the disks of a majority
 * of the registry's servers. Every read rejects with REGISTRY_UNAVAILABLE when the registry did not answer; "not
 * there" (null) is only ever said when the registry itself said so.
 */
export interface Registry {
  /** Reads one volume's record by name; null: the registry says there is none. */
  volume(name: string): Promise<Versioned<VolumeRecord> | null>
  /** Reads all volume records. */
  volumes(): Promise<Versioned<VolumeRecord>[]>
  /** Adds a volume; `refused` when the name is taken. */
  addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>>
  /** Replaces a volume's record if it is still at `revision`; `refused` when it has moved on. */
  updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>>
  /** Frees the name if the record is still at `revision`. */
  deleteVolume(name: string, revision: number): Promise<Write<null>>

  /** Reads all tombstones. */
  removed(): Promise<Versioned<RemovedRecord>[]>
  /** Writes a tombstone; one that is there already stays as it is (outcome `refused`). */
  addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>>
  updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>>
  deleteRemoved(id: string, revision: number): Promise<Write<null>>

  /** Reads all hosts' heartbeats. */
  hosts(): Promise<Versioned<HostRecord>[]>
  /** Adds a host's first heartbeat; `refused` when there is one. */
  addHost(record: HostRecord): Promise<Write<HostRecord>>
  /** Replaces a heartbeat if it is still at `revision`: a host renews its own lease so, and another one expires it (`expiredBy`). */
  updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>>

  /**
   * Calls `wake` after changes to volume records or tombstones, with the volume's name (null: look at everything). Only
   * a hint: calls may be missing, doubled or late. Ends when `signal` aborts; survives reconnects by itself.
   */
  watch(wake: (name: string | null) => void, signal: AbortSignal): void
}
