import { WherryError } from '../../agent/model/errors.ts'
import type { Write } from '../../agent/registry/contract.ts'
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

/** The registry as one agent reaches it. */
export class RegistryClient extends FakeRegistry {
  readonly #cluster: ClusterRegistry
  readonly #network: Network
  readonly #random: Random
  readonly #process: SimProcess
  readonly #host: string
  protected override readonly writer: string

  constructor(
    world: { registry: ClusterRegistry; network: Network; random: Random },
    host: string,
    process: SimProcess,
  ) {
    super()
    this.#cluster = world.registry
    this.#network = world.network
    this.#random = world.random
    this.#process = process
    this.#host = host
    this.writer = host
  }

  watch(wake: (name: string | null) => void, signal: AbortSignal): void {
    const ms = () => (this.#random.hit(0.05) ? this.#random.between(300, 3_000) : this.#random.between(1, 20))
    const stop = this.#cluster.watch(this.#host, (name) => this.#process.after(ms(), () => wake(name)))
    this.#process.whenEnded(stop)
    signal.addEventListener('abort', stop, { once: true })
  }

  protected async read<R>(name: BucketName, look: (bucket: FakeBucket, revision: number) => R): Promise<R> {
    const group = this.#cluster[name]
    const server = this.#connected()
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

  protected async write<T>({ bucket, key, value, expected }: BucketWrite<T>): Promise<Write<T>> {
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

  #connected(): string {
    const server = this.#cluster.serverOf(this.#host)
    if (server === null || !this.#network.linked(this.#host, server)) throw unavailable()
    return server
  }
}

function unavailable(): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', 'The registry did not reply.')
}
