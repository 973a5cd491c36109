import type { HostRecord, RemovedRecord, VolumeRecord } from '../model/model.ts'

/** A value with the registry revision at which it was read or written. */
export interface Versioned<T> {
  readonly value: T
  readonly revision: number
}

/**
 * A write to the registry has three outcomes, and callers must handle all three.
 * `unknown`: the reply was lost. The write may have happened, may still happen, or may never happen.
 * Read back, or repeat it with the same expected revision: at most one attempt of a compare-and-set can win.
 */
export type Write<T> =
  | { readonly outcome: 'done'; readonly entry: Versioned<T> }
  | { readonly outcome: 'refused' }
  | { readonly outcome: 'unknown'; readonly cause: Error }

/** A change of a volume's record, or of its tombstone. */
export interface RecordChange {
  /** The volume's name. */
  readonly name: string
  /** Hosts that the record names before or after the change. */
  readonly hosts: readonly string[]
  /** The volume's record after the change; null: there is none. Undefined: its tombstone has changed. */
  readonly entry?: Versioned<VolumeRecord> | null
}

/**
 * The cluster's records: volumes, tombstones and hosts.
 * Reads may be stale, as no nats-server has linearizable reads. So no decision is based on a read alone: it counts once
 * its compare-and-set write is `done`.
 * A write that is `done` is on the disks of a majority of the registry's servers.
 * Every read rejects REGISTRY_UNAVAILABLE if the registry did not reply. Null: the registry itself said so.
 * A read of all costs one request, however many there are: the changes are followed.
 * `followed...` cost no request. They return what was followed, which lacks nothing that is older than some seconds.
 * They reject REGISTRY_UNAVAILABLE when no server has confirmed that for longer.
 */
export interface Registry {
  /** Reads one volume's record by name; null: there is none. */
  volume(name: string): Promise<Versioned<VolumeRecord> | null>
  /** Reads all volume records. */
  volumes(): Promise<Versioned<VolumeRecord>[]>
  followedVolumes(): Promise<Versioned<VolumeRecord>[]>
  /** Null proves nothing: ask `volume`. */
  followedVolume(name: string): Promise<Versioned<VolumeRecord> | null>
  /** Adds a volume. `refused`: the name is taken. */
  addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>>
  /** Replaces a volume's record if it is still at `revision`. `refused`: it has changed. */
  updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>>
  /** Frees the name if the record is still at `revision`. */
  deleteVolume(name: string, revision: number): Promise<Write<null>>

  /** Reads all tombstones. */
  removed(): Promise<Versioned<RemovedRecord>[]>
  followedRemoved(): Promise<Versioned<RemovedRecord>[]>
  /** Writes a tombstone. `refused`: there is one, and it stays as it is. */
  addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>>
  updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>>
  deleteRemoved(id: string, revision: number): Promise<Write<null>>

  /** Reads all hosts' heartbeats. One that its host did not write is not among them. */
  hosts(): Promise<Versioned<HostRecord>[]>
  followedHosts(): Promise<Versioned<HostRecord>[]>
  /** Reads the heartbeat of this host; null: there is none. Its value is null if its host did not write it. */
  ownHost(id: string): Promise<Versioned<HostRecord | null> | null>
  /** Adds this host's first heartbeat. `refused`: there is one. */
  addHost(record: HostRecord): Promise<Write<HostRecord>>
  /** Renews this host's lease: replaces its heartbeat if it is still at `revision`. */
  updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>>
  /** Marks a host's lease as expired by host `by`, if its heartbeat is still at `revision`. Nothing else changes. */
  expireHost(record: HostRecord, revision: number, by: string): Promise<Write<HostRecord>>

  /**
   * Calls `wake` after changes to volume records or tombstones; null: any may have changed.
   * Only a hint: calls may be missing, doubled or late. Ends when `signal` aborts, survives reconnects.
   */
  watch(wake: (change: RecordChange | null) => void, signal: AbortSignal): void
}
