import type { HostRecord, RemovedRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { RecordChange, Registry, Versioned, Write } from '../../agent/registry/contract.ts'
import type { FakeBucket } from './bucket.ts'

export type BucketName = 'volumes' | 'removed' | 'hosts'

/** A compare-and-set write on its way to a bucket. */
export interface BucketWrite<T> {
  readonly bucket: BucketName
  readonly key: string
  readonly value: T
  /** Null: the key must not be there. */
  readonly expected: number | null
}

/** The registry double of unit tests and simulator. How requests reach the buckets is up to the subclass. */
export abstract class FakeRegistry implements Registry {
  /** The host whose agent uses this; null: all hosts share it. */
  protected readonly writer: string | null = null
  protected abstract read<R>(name: BucketName, look: (bucket: FakeBucket, revision: number) => R): Promise<R>
  protected abstract write<T>(write: BucketWrite<T>): Promise<Write<T>>
  /** What was followed of a bucket. */
  protected abstract followed<T>(name: BucketName): Promise<Versioned<T>[]>
  abstract watch(wake: (change: RecordChange | null) => void, signal: AbortSignal): void

  volume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return this.read('volumes', (bucket, revision) => bucket.read<VolumeRecord>(name, revision))
  }

  volumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.readAll<VolumeRecord>('volumes')
  }

  followedVolumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.followed<VolumeRecord>('volumes')
  }

  async followedVolume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return (await this.followed<VolumeRecord>('volumes')).find(({ value }) => value.name === name) ?? null
  }

  addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>> {
    return this.write({ bucket: 'volumes', key: record.name, value: record, expected: null })
  }

  updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>> {
    return this.write({ bucket: 'volumes', key: record.name, value: record, expected: revision })
  }

  deleteVolume(name: string, revision: number): Promise<Write<null>> {
    return this.write({ bucket: 'volumes', key: name, value: null, expected: revision })
  }

  removed(): Promise<Versioned<RemovedRecord>[]> {
    return this.readAll<RemovedRecord>('removed')
  }

  followedRemoved(): Promise<Versioned<RemovedRecord>[]> {
    return this.followed<RemovedRecord>('removed')
  }

  addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>> {
    return this.write({ bucket: 'removed', key: record.id, value: record, expected: null })
  }

  updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>> {
    return this.write({ bucket: 'removed', key: record.id, value: record, expected: revision })
  }

  deleteRemoved(id: string, revision: number): Promise<Write<null>> {
    return this.write({ bucket: 'removed', key: id, value: null, expected: revision })
  }

  hosts(): Promise<Versioned<HostRecord>[]> {
    return this.readAll<HostRecord>('hosts')
  }

  followedHosts(): Promise<Versioned<HostRecord>[]> {
    return this.followed<HostRecord>('hosts')
  }

  ownHost(id: string): Promise<Versioned<HostRecord> | null> {
    return this.read('hosts', (bucket, revision) => bucket.read<HostRecord>(id, revision))
  }

  addHost(record: HostRecord): Promise<Write<HostRecord>> {
    this.#requireOwn(record)
    return this.write({ bucket: 'hosts', key: record.id, value: record, expected: null })
  }

  updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>> {
    this.#requireOwn(record)
    return this.write({ bucket: 'hosts', key: record.id, value: record, expected: revision })
  }

  expireHost(record: HostRecord, revision: number, by: string): Promise<Write<HostRecord>> {
    return this.write({ bucket: 'hosts', key: record.id, value: { ...record, expiredBy: by }, expected: revision })
  }

  /** Nobody would believe another one: a host signs its heartbeat, and the mark of its expiry is not its own. */
  #requireOwn({ id, expiredBy }: HostRecord): void {
    if ((this.writer ?? id) !== id) throw new Error(`${this.writer} writes a heartbeat of ${id}`)
    if (expiredBy !== null) throw new Error(`${id} renews its lease as expired`)
  }

  protected readAll<T>(name: BucketName): Promise<Versioned<T>[]> {
    return this.read(name, (bucket, revision) => bucket.readAll<T>(revision))
  }
}
