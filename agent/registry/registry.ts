import type { StandaloneStore } from '../bus/standalone-store.ts'
import type { HostRecord, RemovedRecord, VolumeRecord } from '../model/model.ts'
import { Bucket, type BucketContent, type Decoded } from './bucket.ts'
import type { RecordChange, Registry, Versioned, Write } from './contract.ts'
import { FollowedBucket } from './followed-bucket.ts'
import type { EntryChange } from './followed-entries.ts'
import type { HostSeals } from './host-seal.ts'
import { fromKey } from './keys.ts'
import { migrateStandalone } from './migrate-standalone.ts'
import { Readiness, type ReadinessOptions } from './readiness.ts'
import { removedChange, volumeChange } from './record-change.ts'
import { hostSchema, removedSchema, volumeSchema } from './schema.ts'
import { BUCKETS, CHANGES } from './setup.ts'
import type { StreamState } from './stream.ts'

/** How often each bucket's leader is asked whether a change has not come. */
const CHECK_HOSTS_MS = 2_000
const CHECK_RECORDS_MS = 5_000

/** The bounds of records and messages are made for this: nats-server's `max_payload` unless it is set otherwise. */
const PAYLOAD_BYTES = 1024 * 1024

export interface RegistryOptions extends ReadinessOptions {
  /** Records of this host's time as a standalone host. They are migrated before the registry is ready. */
  readonly oldStore: StandaloneStore | null
  /** Signs and checks heartbeats; null: this host has no peers. */
  readonly seals: HostSeals | null
}

export interface RegistryState {
  readonly ready: boolean
  /** One line for the operator. */
  readonly detail: string
  /** What the operator has to mend, one line each. */
  readonly problems: readonly string[]
}

/**
 * The registry on JetStream KV. It sets itself up in the background.
 * Until that is done every call rejects REGISTRY_UNAVAILABLE.
 */
export class JetStreamRegistry implements Registry, AsyncDisposable {
  readonly #options: RegistryOptions
  readonly #volumes: FollowedBucket<VolumeRecord>
  readonly #removed: FollowedBucket<RemovedRecord>
  readonly #hosts: FollowedBucket<HostRecord>
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  /** Problems by subject, so that each is logged once and can be cleared. */
  readonly #problems = new Map<string, string>()
  readonly #wakes = new Set<(change: RecordChange | null) => void>()
  readonly #readiness: Readiness
  #oldStore: StandaloneStore | null

  constructor(options: RegistryOptions) {
    this.#options = options
    this.#oldStore = options.oldStore
    this.#readiness = new Readiness(options)
    const { bus } = options
    const judge = async (stream: string, state: StreamState) => this.#readiness.judge(stream, state)
    const wakeVolume = (change: EntryChange<Decoded<VolumeRecord>> | null) =>
      this.#wake(change && volumeChange(fromKey(change.key), recordOf(change.before), change.after?.entry ?? null))
    const wakeRemoved = (change: EntryChange<Decoded<RemovedRecord>> | null) =>
      this.#wake(change && removedChange(recordOf(change.before), recordOf(change.after)))
    this.#volumes = new FollowedBucket({
      bucket: new Bucket(BUCKETS.volumes, volumeSchema, bus),
      ...{ bus, judge, subject: CHANGES.volumes, checkMs: CHECK_RECORDS_MS, changed: wakeVolume },
    })
    this.#removed = new FollowedBucket({
      bucket: new Bucket(BUCKETS.removed, removedSchema, bus),
      ...{ bus, judge, subject: CHANGES.removed, checkMs: CHECK_RECORDS_MS, changed: wakeRemoved },
    })
    this.#hosts = new FollowedBucket({
      bucket: new Bucket(BUCKETS.hosts, options.seals?.schema ?? hostSchema, bus),
      ...{ bus, judge, subject: CHANGES.hosts, checkMs: CHECK_HOSTS_MS, changed: () => undefined },
    })
    const followed = this.#followed.map((one) => one.run(this.#stop.signal))
    const ready = this.#readiness.run(
      () => this.#migrate(),
      (isNew) => this.#checked(isNew),
      this.#stop.signal,
    )
    this.#loop = Promise.all([ready, ...followed]).then(() => undefined)
  }

  state(): RegistryState {
    const { connected, detail } = this.#options.bus.state()
    const ready = this.#readiness.isReady && connected
    const failure = connected ? this.#readiness.failure.message : detail
    return { ready, detail: ready ? detail : failure, problems: [...this.#problems.values()] }
  }

  async volume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return await this.#confirmed(this.#volumes, (bucket) => bucket.read(name))
  }

  async volumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.#report(this.#volumes, await this.#open(this.#volumes).readAll())
  }

  async followedVolumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.#report(this.#volumes, this.#open(this.#volumes).known())
  }

  /** Names of volumes whose records could not be read the last time. */
  get unreadableVolumes(): readonly string[] {
    const about = damagedIn(BUCKETS.volumes)
    return [...this.#problems.keys()].flatMap((key) =>
      key.startsWith(about) ? [fromKey(key.slice(about.length))] : [],
    )
  }

  async followedVolume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return this.#open(this.#volumes).knownOf(name)
  }

  async addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>> {
    return await this.#add(this.#volumes, record.name, record)
  }

  async updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>> {
    return this.#open(this.#volumes).bucket.update(record.name, record, revision)
  }

  async deleteVolume(name: string, revision: number): Promise<Write<null>> {
    return this.#open(this.#volumes).bucket.remove(name, revision)
  }

  async removed(): Promise<Versioned<RemovedRecord>[]> {
    return this.#report(this.#removed, await this.#open(this.#removed).readAll())
  }

  async followedRemoved(): Promise<Versioned<RemovedRecord>[]> {
    return this.#report(this.#removed, this.#open(this.#removed).known())
  }

  async addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>> {
    return await this.#add(this.#removed, record.id, record)
  }

  async updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>> {
    return this.#open(this.#removed).bucket.update(record.id, record, revision)
  }

  async deleteRemoved(id: string, revision: number): Promise<Write<null>> {
    return this.#open(this.#removed).bucket.remove(id, revision)
  }

  async hosts(): Promise<Versioned<HostRecord>[]> {
    return this.#report(this.#hosts, await this.#open(this.#hosts).readAll())
  }

  async followedHosts(): Promise<Versioned<HostRecord>[]> {
    return this.#report(this.#hosts, this.#open(this.#hosts).known())
  }

  async ownHost(id: string): Promise<Versioned<HostRecord | null> | null> {
    return await this.#confirmed(this.#hosts, (bucket) => bucket.readAny(id))
  }

  async addHost(record: HostRecord): Promise<Write<HostRecord>> {
    return await this.#add(this.#hosts, record.id, this.#sealed(record))
  }

  async updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>> {
    return this.#open(this.#hosts).bucket.update(record.id, this.#sealed(record), revision)
  }

  async expireHost(record: HostRecord, revision: number, by: string): Promise<Write<HostRecord>> {
    return this.#open(this.#hosts).bucket.update(record.id, { ...record, expiredBy: by }, revision)
  }

  /** The registry that this host knows is gone: nobody can end a lease in it, whatever other one is there. */
  get isLost(): boolean {
    return this.#readiness.isLost
  }

  /** Whether this host has seen the registry's streams: no other host may create them then. */
  async hasSeen(): Promise<boolean> {
    return await this.#readiness.hasSeen()
  }

  watch(wake: (change: RecordChange | null) => void, signal: AbortSignal): void {
    const ended = AbortSignal.any([signal, this.#stop.signal])
    // A new connection may have missed changes, which the followers find one after another.
    this.#options.bus.onConnect(() => wake(null), ended)
    this.#wakes.add(wake)
    ended.addEventListener('abort', () => this.#wakes.delete(wake), { once: true })
  }

  /** Ends the background work. The bus stays open: its opener closes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#loop
  }

  #sealed(record: HostRecord): HostRecord {
    return this.#options.seals?.seal(record) ?? record
  }

  get #followed(): readonly Pick<FollowedBucket<unknown>, 'run' | 'suspect' | 'dropMarkers'>[] {
    return [this.#volumes, this.#removed, this.#hosts]
  }

  #open<T>(bucket: FollowedBucket<T>): FollowedBucket<T> {
    this.#readiness.require()
    return bucket
  }

  /** Null: an empty stream that another host has just created in place of a lost one proves nothing. */
  async #confirmed<T, R>(followed: FollowedBucket<T>, read: (bucket: Bucket<T>) => Promise<R | null>) {
    const { bucket } = this.#open(followed)
    const found = await read(bucket)
    if (found === null) this.#readiness.judge(bucket.stream, await bucket.state())
    return found
  }

  /** Adds an entry. `unknown` also if it may be in another stream: an empty one in place of a lost one takes any. */
  async #add<T>(followed: FollowedBucket<T>, name: string, value: T): Promise<Write<T>> {
    const { bucket } = this.#open(followed)
    const write = await bucket.add(name, value)
    if (write.outcome !== 'done') return write
    try {
      this.#readiness.judge(bucket.stream, await bucket.state())
      return write
    } catch (error) {
      return { outcome: 'unknown', cause: error as Error }
    }
  }

  #wake(change: RecordChange | null): void {
    for (const wake of [...this.#wakes]) wake(change)
  }

  #report<T>({ bucket }: FollowedBucket<T>, { entries, damaged }: BucketContent<T>): Versioned<T>[] {
    const about = damagedIn(bucket.name)
    const found = new Map(damaged.map(({ key, reason }) => [about + key, reason]))
    for (const known of this.#problems.keys()) {
      if (known.startsWith(about) && !found.has(known)) this.#problems.delete(known)
    }
    for (const [key, reason] of found) this.#problem(key, reason)
    return entries
  }

  #problem(about: string, text: string): void {
    if (this.#problems.get(about) === text) return
    this.#problems.set(about, text)
    this.#options.log.error({ problem: text }, 'registry has a problem')
  }

  #checked(isNew: boolean): void {
    this.#reviewPayload()
    for (const bucket of this.#followed) {
      if (isNew) bucket.suspect()
      void bucket.dropMarkers()
    }
    if (isNew) this.#wake(null)
  }

  #reviewPayload(): void {
    const { bus } = this.#options
    if (!bus.state().connected) return
    const most = bus.connection().info?.max_payload ?? PAYLOAD_BYTES
    if (most >= PAYLOAD_BYTES) this.#problems.delete('payload')
    else this.#problem('payload', `nats-server takes messages of ${most} bytes: set max_payload to 1MB or more`)
  }

  async #migrate(): Promise<void> {
    const old = this.#oldStore
    if (old === null) return
    const { log } = this.#options
    const conflicts = await migrateStandalone(
      old,
      { volumes: this.#volumes.bucket, removed: this.#removed.bucket },
      log,
      this.#stop.signal,
    )
    for (const text of conflicts) this.#problem(`migration ${text}`, text)
    this.#oldStore = null
  }
}

/** Begins what is noted of a record that cannot be read; its key follows. */
function damagedIn(bucket: string): string {
  return `damaged ${bucket} `
}

function recordOf<T>(decoded: Decoded<T> | null): T | null {
  return decoded?.entry?.value ?? null
}
