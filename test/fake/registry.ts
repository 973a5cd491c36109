import type { HostRecord, RemovedRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { Registry, Versioned, Write } from '../../agent/registry/contract.ts'
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
  protected abstract read<R>(name: BucketName, look: (bucket: FakeBucket, revision: number) => R): Promise<R>
  protected abstract write<T>(write: BucketWrite<T>): Promise<Write<T>>
  abstract watch(wake: (name: string | null) => void, signal: AbortSignal): void

  volume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return this.read('volumes', (bucket, revision) => bucket.read<VolumeRecord>(name, revision))
  }

  volumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.#readAll<VolumeRecord>('volumes')
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
    return this.#readAll<RemovedRecord>('removed')
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
    return this.#readAll<HostRecord>('hosts')
  }

  addHost(record: HostRecord): Promise<Write<HostRecord>> {
    return this.write({ bucket: 'hosts', key: record.id, value: record, expected: null })
  }

  updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>> {
    return this.write({ bucket: 'hosts', key: record.id, value: record, expected: revision })
  }

  #readAll<T>(name: BucketName): Promise<Versioned<T>[]> {
    return this.read(name, (bucket, revision) => bucket.readAll<T>(revision))
  }
}
