import { WherryError } from '../../agent/model/errors.ts'
import type { RemovedRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { RecordChange, Versioned, Write } from '../../agent/registry/contract.ts'
import { removedChange, volumeChange } from '../../agent/registry/record-change.ts'
import { FakeBucket } from './bucket.ts'
import { type BucketName, type BucketWrite, FakeRegistry } from './registry.ts'

/** The registry of unit tests: one for all hosts, which replies at once. */
export class MemoryRegistry extends FakeRegistry {
  /** While true every call fails as if no server could be reached. */
  away = false
  /** Called before each volume write; may throw, as a host that dies there does. */
  beforeWrite: (record: VolumeRecord) => void = () => undefined
  /** Called after each volume write took effect; may throw: the reply is then lost. */
  afterWrite: (record: VolumeRecord) => void = () => undefined
  readonly #buckets: Readonly<Record<BucketName, FakeBucket>> = {
    volumes: new FakeBucket(() => 0),
    removed: new FakeBucket(() => 0),
    hosts: new FakeBucket(() => 0),
  }
  readonly #wakes = new Set<(change: RecordChange | null) => void>()

  /** All heartbeats are gone, as in a registry that was lost. */
  forgetHosts(): void {
    this.#buckets.hosts.wipe()
  }

  watch(wake: (change: RecordChange | null) => void, signal: AbortSignal): void {
    this.#wakes.add(wake)
    signal.addEventListener('abort', () => this.#wakes.delete(wake))
  }

  protected async read<R>(name: BucketName, look: (bucket: FakeBucket, revision: number) => R): Promise<R> {
    this.#requireHere()
    const bucket = this.#buckets[name]
    return look(bucket, bucket.revision)
  }

  protected followed<T>(name: BucketName): Promise<Versioned<T>[]> {
    return this.readAll<T>(name)
  }

  protected async write<T>({ bucket, key, value, expected }: BucketWrite<T>): Promise<Write<T>> {
    this.#requireHere()
    const record = bucket === 'volumes' ? (value as VolumeRecord | null) : null
    if (record !== null) this.beforeWrite(record)
    const found = this.#buckets[bucket]
    const before = found.read(key, found.revision)?.value ?? null
    const revision = found.write(key, value, expected)
    if (revision === null) return { outcome: 'refused' }
    this.#committed(bucket, key, before, value === null ? null : { value, revision })
    try {
      if (record !== null) this.afterWrite(record)
    } catch (error) {
      return { outcome: 'unknown', cause: error as Error }
    }
    return { outcome: 'done', entry: { value, revision } }
  }

  #committed(bucket: BucketName, key: string, before: unknown, after: Versioned<unknown> | null): void {
    if (bucket === 'hosts') return
    const change =
      bucket === 'volumes'
        ? volumeChange(key, before as VolumeRecord | null, after as Versioned<VolumeRecord> | null)
        : removedChange(before as RemovedRecord | null, (after?.value ?? null) as RemovedRecord | null)
    for (const wake of this.#wakes) queueMicrotask(() => wake(change))
  }

  #requireHere(): void {
    if (this.away) throw new WherryError('REGISTRY_UNAVAILABLE', 'The registry is away.')
  }
}
