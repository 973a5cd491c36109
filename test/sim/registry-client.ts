import { WherryError } from '../../agent/model/errors.ts'
import type { HostRecord, RemovedRecord, VolumeRecord } from '../../agent/model/model.ts'
import type { RecordChange, Versioned, Write } from '../../agent/registry/contract.ts'
import type { EntryChange } from '../../agent/registry/followed-entries.ts'
import { Follower } from '../../agent/registry/follower.ts'
import { removedChange, volumeChange } from '../../agent/registry/record-change.ts'
import type { BucketStream } from '../../agent/registry/stream.ts'
import type { Clock } from '../../agent/runtime/clock.ts'
import type { FakeBucket } from '../fake/bucket.ts'
import { type BucketName, type BucketWrite, FakeRegistry } from '../fake/registry.ts'
import type { ClusterRegistry } from './cluster-registry.ts'
import type { Network } from './network.ts'
import type { SimProcess } from './process.ts'
import type { RaftGroup } from './raft-group.ts'
import type { Random } from './random.ts'

/** agent/registry/bucket.ts gives a request up after this long. */
const REQUEST_MS = 3_000
/** Share of the requests given up that are only late. */
const LATE = 0.3
/** As agent/registry/registry.ts has them. */
const CHECK_MS: Readonly<Record<BucketName, number>> = { volumes: 5_000, removed: 5_000, hosts: 2_000 }

type Entry = Versioned<unknown>

/** The registry as one agent reaches it. */
export class RegistryClient extends FakeRegistry {
  readonly #cluster: ClusterRegistry
  readonly #network: Network
  readonly #random: Random
  readonly #process: SimProcess
  readonly #host: string
  readonly #anyRegistry: boolean
  protected override readonly writer: string
  readonly #followers: Readonly<Record<BucketName, Follower<Entry>>>
  readonly #wakes = new Set<(change: RecordChange | null) => void>()

  constructor(
    world: { registry: ClusterRegistry; network: Network; random: Random },
    host: string,
    process: SimProcess,
    clock: Clock,
    anyRegistry: boolean,
  ) {
    super()
    this.#cluster = world.registry
    this.#network = world.network
    this.#random = world.random
    this.#process = process
    this.#host = host
    this.writer = host
    this.#anyRegistry = anyRegistry
    const follow = (bucket: BucketName) =>
      new Follower<Entry>({
        bucket,
        stream: this.#streamOf(bucket),
        clock,
        checkMs: CHECK_MS[bucket],
        judge: async ({ created }) => this.#judge(created),
        changed: (change) => this.#changed(bucket, change),
      })
    this.#followers = { volumes: follow('volumes'), removed: follow('removed'), hosts: follow('hosts') }
  }

  /** Follows the buckets until the process ends, or `signal` aborts. */
  run(signal: AbortSignal): void {
    for (const [name, follower] of Object.entries(this.#followers)) {
      const group = this.#cluster[name as BucketName]
      const stop = this.#cluster.listen(this.#host, group, ({ key, revision, value }) => {
        const message = { key, revision, value: value === null ? null : { value, revision } }
        this.#process.after(this.#passMs(), () => follower.take(message))
        if (this.#random.hit(0.02)) this.#process.after(this.#random.between(1, 3_000), () => follower.take(message))
      })
      this.#process.whenEnded(stop)
      signal.addEventListener('abort', stop, { once: true })
      void follower.run(signal)
    }
  }

  /** The registry that this host knows is gone, as far as it has noticed. */
  isLost = false

  override async volume(name: string): Promise<Versioned<VolumeRecord> | null> {
    return await this.#confirmed('volumes', () => super.volume(name))
  }

  override async ownHost(id: string): Promise<Versioned<HostRecord> | null> {
    return await this.#confirmed('hosts', () => super.ownHost(id))
  }

  watch(wake: (change: RecordChange | null) => void, signal: AbortSignal): void {
    this.#wakes.add(wake)
    signal.addEventListener('abort', () => this.#wakes.delete(wake), { once: true })
  }

  protected async read<R>(name: BucketName, look: (bucket: FakeBucket, revision: number) => R): Promise<R> {
    const group = this.#cluster[name]
    const server = this.#server()
    const sentMs = this.#process.timeline.nowMs
    const onWayMs =
      this.#network.latencyMs(this.#host, server) + this.#network.latencyMs(server, group.leader ?? server)
    // One event for both ways: the reply is as old as half of the time that it took.
    const revision = this.#cluster.isRunning(server) ? group.readable(server) : null
    await this.#process.wait(2 * onWayMs)
    const lost = this.#random.hit(this.#cluster.lostAnswers) || !this.#network.linked(this.#host, server)
    if (revision !== null && !lost) return look(group, revision)
    await this.#process.wait(REQUEST_MS - (this.#process.timeline.nowMs - sentMs))
    throw unavailable()
  }

  protected override async readAll<T>(name: BucketName): Promise<Versioned<T>[]> {
    this.#connected()
    const follower = this.#followers[name]
    await follower.catchUp()
    return [...follower.entries.values()] as Versioned<T>[]
  }

  protected async followed<T>(name: BucketName): Promise<Versioned<T>[]> {
    const follower = this.#followers[name]
    follower.requireCurrent()
    return [...follower.entries.values()] as Versioned<T>[]
  }

  protected async write<T>(change: BucketWrite<T>): Promise<Write<T>> {
    const write = await this.#send(change)
    if (change.expected !== null || write.outcome !== 'done') return write
    // As agent/registry/registry.ts does: an empty registry in place of a lost one takes any first write.
    try {
      this.#judge(await this.read(change.bucket, () => this.#cluster.madeAt))
      return write
    } catch (error) {
      return { outcome: 'unknown', cause: error as Error }
    }
  }

  async #send<T>({ bucket, key, value, expected }: BucketWrite<T>): Promise<Write<T>> {
    const group = this.#cluster[bucket]
    const server = this.#connected()
    const sentMs = this.#process.timeline.nowMs
    const onWayMs =
      this.#network.latencyMs(this.#host, server) + this.#network.latencyMs(server, group.leader ?? server)
    const sent = { group, key, value, expected, server }
    const outcome = Promise.withResolvers<Write<T> | null>()
    // The write arrives whether or not its writer lives to see it.
    this.#process.timeline.after(onWayMs, () => outcome.resolve(this.#arrive<T>(sent)))
    const write = await outcome.promise
    await this.#process.wait(onWayMs)
    const back = this.#network.way(group.leader ?? server, server) && this.#network.way(server, this.#host)
    const lost = this.#random.hit(this.#cluster.lostAnswers) || !back
    if (write !== null && !lost) return write
    await this.#process.wait(REQUEST_MS - (this.#process.timeline.nowMs - sentMs))
    this.#cluster.trace(this.#host, `does not know whether ${key} was written`)
    return { outcome: 'unknown', cause: unavailable() }
  }

  #arrive<T>(sent: {
    group: RaftGroup
    key: string
    value: T
    expected: number | null
    server: string
  }): Write<T> | null {
    const { group, key, value, expected, server } = sent
    const arrived = this.#network.way(this.#host, server) && this.#cluster.isRunning(server)
    if (arrived && group.writable(server)) {
      const revision = group.commit(key, value, expected, this.#host)
      return revision === null ? { outcome: 'refused' } : { outcome: 'done', entry: { value, revision } }
    }
    if (this.#random.hit(LATE)) {
      const lateMs = this.#random.between(100, this.#cluster.lateWriteMs + REQUEST_MS)
      this.#process.timeline.after(lateMs, () => {
        if (this.#cluster.isRunning(server) && group.writable(server)) group.commit(key, value, expected, this.#host)
      })
    }
    return null
  }

  /** The stream as its leader replies, or a former one. */
  #streamOf(name: BucketName): BucketStream<Entry> {
    const stored = ({ key, revision, value }: { key: string; revision: number; value: unknown }) => ({
      key,
      revision,
      value: value === null ? null : { value, revision },
    })
    return {
      state: () =>
        this.read(name, (bucket, revision) => ({
          lastRevision: revision,
          messages: bucket.newest(revision).length,
          created: this.#cluster.madeAt,
        })),
      next: (after) =>
        this.read(name, (bucket, revision) => {
          const found = bucket.newest(revision).find((one) => one.revision > after)
          return found === undefined ? null : stored(found)
        }),
      all: () => this.read(name, (bucket, revision) => bucket.newest(revision).map(stored)),
    }
  }

  #changed(bucket: BucketName, change: EntryChange<Entry> | null): void {
    if (bucket === 'hosts') return
    const told = change === null ? null : describe(bucket, change)
    for (const wake of this.#wakes) wake(told)
  }

  #passMs(): number {
    return this.#random.hit(0.05) ? this.#random.between(300, 3_000) : this.#random.between(1, 20)
  }

  /** As agent/registry/readiness.ts does. A host that was told so by the operator knows any registry (`wipe`). */
  #judge(madeAt: string): void {
    this.isLost = !this.#anyRegistry && !this.#cluster.isKnown(madeAt)
    if (this.isLost) throw unavailable()
  }

  async #confirmed<T>(bucket: BucketName, read: () => Promise<T | null>): Promise<T | null> {
    this.#connected()
    const found = await read()
    if (found === null) this.#judge(await this.read(bucket, () => this.#cluster.madeAt))
    return found
  }

  #connected(): string {
    if (this.isLost) throw unavailable()
    return this.#server()
  }

  #server(): string {
    const server = this.#cluster.serverOf(this.#host)
    if (server === null || !this.#network.linked(this.#host, server)) throw unavailable()
    return server
  }
}

function describe(bucket: BucketName, { key, before, after }: EntryChange<Entry>): RecordChange | null {
  if (bucket === 'volumes')
    return volumeChange(key, (before?.value ?? null) as VolumeRecord | null, after as Versioned<VolumeRecord> | null)
  return removedChange((before?.value ?? null) as RemovedRecord | null, (after?.value ?? null) as RemovedRecord | null)
}

function unavailable(): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', 'The registry did not reply.')
}
