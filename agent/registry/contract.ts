import type { HostRecord, RemovedRecord, VolumeRecord } from '../model/model.ts'

/** A value with the registry revision at which it was read or written. */
export interface Versioned<T> {
  readonly value: T
  readonly revision: number
}

/**
 * A write to the registry has three outcomes, and callers must handle all three.
 * `unknown`: the reply was lost. The write may have happened, may still happen, or may never happen. Read back, or
 * retry
 * with the same expected revision: a compare-and-set is safe to repeat, because at most one attempt can win.
 */
export type Write<T> =
  | { readonly outcome: 'done'; readonly entry: Versioned<T> }
  | { readonly outcome: 'refused' }
  | { readonly outcome: 'unknown'; readonly cause: Error }

/**
 * Who holds what.
 * Reads may be stale (no nats-server has linearizable reads), so no decision rests on a read.
 * A decision counts when its compare-and-set write is `done`: it is then on the disks of a majority of the servers.
 * Every read rejects with REGISTRY_UNAVAILABLE when the registry did not reply. It returns null only when the
 * registry
 * itself said that there is none.
 */
export interface Registry {
  /** Reads one volume's record by name; null: the registry says there is none. */
  volume(name: string): Promise<Versioned<VolumeRecord> | null>
  /** Reads all volume records. */
  volumes(): Promise<Versioned<VolumeRecord>[]>
  /** Adds a volume; `refused` when the name is taken. */
  addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>>
  /** Replaces a volume's record if it is still at `revision`; `refused` when it has changed. */
  updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>>
  /** Frees the name if the record is still at `revision`. */
  deleteVolume(name: string, revision: number): Promise<Write<null>>

  /** Reads all tombstones. */
  removed(): Promise<Versioned<RemovedRecord>[]>
  /** Writes a tombstone; an existing one stays as it is (outcome `refused`). */
  addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>>
  updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>>
  deleteRemoved(id: string, revision: number): Promise<Write<null>>

  /** Reads all hosts' heartbeats. */
  hosts(): Promise<Versioned<HostRecord>[]>
  /** Adds a host's first heartbeat; `refused` when there is one. */
  addHost(record: HostRecord): Promise<Write<HostRecord>>
  /**
   * Replaces a heartbeat if it is still at `revision`.
   * A host renews its own lease with it, and another host expires it (`expiredBy`).
   */
  updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>>

  /**
   * Calls `wake` after changes to volume records or tombstones, with the volume's name (null: anything).
   * Only a hint: calls may be missing, doubled or late. Ends when `signal` aborts; survives reconnects.
   */
  watch(wake: (name: string | null) => void, signal: AbortSignal): void
}
