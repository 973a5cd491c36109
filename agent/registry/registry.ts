import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { NatsBus } from '../bus/bus.ts'
import { unavailable } from '../bus/connection.ts'
import type { StandaloneStore } from '../bus/standalone-store.ts'
import { codeOf, WherryError } from '../model/errors.ts'
import type { HostRecord, RemovedRecord, VolumeRecord } from '../model/model.ts'
import { Bucket } from './bucket.ts'
import type { Registry, Versioned, Write } from './contract.ts'
import type { HostSeals } from './host-seal.ts'
import { fromKey } from './keys.ts'
import { KnownBuckets } from './known-buckets.ts'
import { migrateStandalone } from './migrate-standalone.ts'
import { hostSchema, removedSchema, volumeSchema } from './schema.ts'
import { BUCKETS, CHANGES, setUpBuckets } from './setup.ts'

/** Wait before the next attempt to set up. A forming cluster elects its leader within a few seconds. */
const RETRY_MS = 500

/** How often the layout is checked: servers may have been added, and the replicas follow. */
const LOOK_AGAIN_MS = 60_000

export interface RegistryOptions {
  readonly bus: NatsBus
  /** Replicas of each bucket; null: by the size of the user's own NATS. */
  readonly replicas: number | null
  /** Records of this host's time as a standalone host. They are migrated before the registry is ready. */
  readonly oldStore: StandaloneStore | null
  /** File with the buckets that this host has seen (`EmbeddedNats.seenPath`). Without it they are kept in memory. */
  readonly seenPath?: string
  /** Signs and checks heartbeats; null: this host has no peers. */
  readonly seals: HostSeals | null
  readonly log: Logger
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
  readonly #volumes: Bucket<VolumeRecord>
  readonly #removed: Bucket<RemovedRecord>
  readonly #hosts: Bucket<HostRecord>
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  readonly #seen: KnownBuckets
  /** Problems by subject, so that each is logged once and can be cleared. */
  readonly #problems = new Map<string, string>()
  readonly #wakes = new Set<(name: string | null) => void>()
  #oldStore: StandaloneStore | null
  #ready = false
  #failure: Error = unavailable('its buckets were not checked yet')

  constructor(options: RegistryOptions) {
    this.#options = options
    this.#oldStore = options.oldStore
    this.#seen = new KnownBuckets(options.seenPath ?? null)
    this.#volumes = new Bucket(BUCKETS.volumes, volumeSchema, options.bus)
    this.#removed = new Bucket(BUCKETS.removed, removedSchema, options.bus)
    this.#hosts = new Bucket(BUCKETS.hosts, options.seals?.schema ?? hostSchema, options.bus)
    this.#loop = this.#run()
  }

  state(): RegistryState {
    const { connected, detail } = this.#options.bus.state()
    const ready = this.#ready && connected
    const failure = connected ? this.#failure.message : detail
    return { ready, detail: ready ? detail : failure, problems: [...this.#problems.values()] }
  }

  async volume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return this.#open(this.#volumes).read(name)
  }

  async volumes(): Promise<Versioned<VolumeRecord>[]> {
    return this.#all(this.#volumes)
  }

  async addVolume(record: VolumeRecord): Promise<Write<VolumeRecord>> {
    return this.#open(this.#volumes).add(record.name, record)
  }

  async updateVolume(record: VolumeRecord, revision: number): Promise<Write<VolumeRecord>> {
    return this.#open(this.#volumes).update(record.name, record, revision)
  }

  async deleteVolume(name: string, revision: number): Promise<Write<null>> {
    return this.#open(this.#volumes).remove(name, revision)
  }

  async removed(): Promise<Versioned<RemovedRecord>[]> {
    return this.#all(this.#removed)
  }

  async addRemoved(record: RemovedRecord): Promise<Write<RemovedRecord>> {
    return this.#open(this.#removed).add(record.id, record)
  }

  async updateRemoved(record: RemovedRecord, revision: number): Promise<Write<RemovedRecord>> {
    return this.#open(this.#removed).update(record.id, record, revision)
  }

  async deleteRemoved(id: string, revision: number): Promise<Write<null>> {
    return this.#open(this.#removed).remove(id, revision)
  }

  async hosts(): Promise<Versioned<HostRecord>[]> {
    return this.#all(this.#hosts)
  }

  async ownHost(id: string): Promise<Versioned<HostRecord | null> | null> {
    return this.#open(this.#hosts).readAny(id)
  }

  async addHost(record: HostRecord): Promise<Write<HostRecord>> {
    return this.#open(this.#hosts).add(record.id, this.#sealed(record))
  }

  async updateHost(record: HostRecord, revision: number): Promise<Write<HostRecord>> {
    return this.#open(this.#hosts).update(record.id, this.#sealed(record), revision)
  }

  async expireHost(record: HostRecord, revision: number, by: string): Promise<Write<HostRecord>> {
    return this.#open(this.#hosts).update(record.id, { ...record, expiredBy: by }, revision)
  }

  watch(wake: (name: string | null) => void, signal: AbortSignal): void {
    const { bus } = this.#options
    const ended = AbortSignal.any([signal, this.#stop.signal])
    const changed = (_: string, subject: string) => wake(fromKey(subject.slice(CHANGES.volumes.length + 1)))
    bus.listen(`${CHANGES.volumes}.>`, changed, ended)
    bus.listen(`${CHANGES.removed}.>`, () => wake(null), ended)
    // Changes during a lost connection, or before the registry was readable, were not reported.
    bus.onConnect(() => wake(null), ended)
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

  #open<T>(bucket: Bucket<T>): Bucket<T> {
    this.#options.bus.connection()
    if (!this.#ready) throw this.#failure
    return bucket
  }

  async #all<T>(bucket: Bucket<T>): Promise<Versioned<T>[]> {
    const { entries, damaged } = await this.#open(bucket).readAll()
    const about = `damaged ${bucket.name} `
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
    this.#options.log.error(text)
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      const waitMs = (await this.#setUp()) ? LOOK_AGAIN_MS : RETRY_MS
      const woken = new AbortController()
      // A new connection ends the wait: it may be the first one, or its server may have another version.
      let known = this.#options.bus.state().connected
      const wake = () => {
        if (!known) woken.abort()
        known = false
      }
      this.#options.bus.onConnect(wake, AbortSignal.any([signal, woken.signal]))
      await sleep(waitMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => {})
      woken.abort()
    }
  }

  /** Sets the registry up. True: it is ready; false: `#failure` says why not. */
  async #setUp(): Promise<boolean> {
    const { bus, replicas, log } = this.#options
    try {
      await setUpBuckets(bus.connection(), replicas, this.#seen)
      await this.#migrate()
      if (!this.#ready) {
        this.#ready = true
        log.info('registry ready')
        for (const wake of [...this.#wakes]) wake(null)
      }
      return true
    } catch (error) {
      await this.#failed(error)
      return false
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { bus, log } = this.#options
    const failure =
      error instanceof WherryError ? error : unavailable(`${(error as Error).message}; ${await bus.reach()}`, error)
    // Without a leader or a connection, calls are still tried: they fail by themselves, or they do not.
    const final = codeOf(error) === 'NATS_TOO_OLD' || (codeOf(error) !== undefined && bus.state().connected)
    if (final) this.#ready = false
    if (failure.message !== this.#failure.message) log.warn(failure.toLine())
    this.#failure = failure
  }

  async #migrate(): Promise<void> {
    const old = this.#oldStore
    if (old === null) return
    const { log } = this.#options
    const conflicts = await migrateStandalone(
      old,
      { volumes: this.#volumes, removed: this.#removed },
      log,
      this.#stop.signal,
    )
    for (const text of conflicts) this.#problem(`migration ${text}`, text)
    this.#oldStore = null
  }
}
