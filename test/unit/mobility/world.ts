import { pino } from 'pino'
import type { Engine, VolumeUser } from '../../../agent/docker/contract.ts'
import { WherryError } from '../../../agent/errors.ts'
import { createMobility, type RunningMobility } from '../../../agent/mobility/mobility.ts'
import type { Parts } from '../../../agent/mobility/parts.ts'
import type { VolumeOptions } from '../../../agent/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/options.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import type { VolumePuller } from '../../../agent/transfer/contract.ts'
import { VirtualClock } from './clock.ts'
import { MemoryRegistry } from './memory-registry.ts'
import { hashOf, MemoryStore } from './memory-store.ts'

export const OPTIONS: VolumeOptions = DEFAULT_OPTIONS

/** One host: its disk and its engine outlive its agent. */
export class MemoryHost {
  readonly name: string
  readonly store: MemoryStore
  /** Containers as the engine shows them. */
  users: VolumeUser[] = []
  agent: RunningMobility
  readonly #world: World
  #stop = new AbortController()

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
    this.store = new MemoryStore(world.clock)
    this.agent = this.#createAgent()
  }

  /** Starts the agent anew on the same disk, as after a kill: nothing that was only in memory is left. */
  async restart(): Promise<void> {
    this.#stop.abort()
    this.#stop = new AbortController()
    this.agent = this.#createAgent()
    await this.agent.start()
    await this.#world.clock.advance(0)
  }

  kill(): void {
    this.#stop.abort()
  }

  #createAgent(): RunningMobility {
    const { clock, registry } = this.#world
    const engine: Engine = {
      users: async () => this.users,
      finishedAt: async () => null,
      info: async () => ({ name: this.name, swarmNode: null, leader: false }),
      tasks: async () => [],
      watch: () => undefined,
    }
    const self = { id: this.name, address: this.name, transferPort: 1, incarnation: this.#world.newId() }
    const parts: Parts = {
      self,
      registry,
      cache: new VolumeCache({ registry }),
      store: this.store,
      puller: this.#world.pullerOf(this),
      bus: { publish: () => undefined, subscribe: () => undefined, state: () => ({ connected: true, detail: '' }) },
      engine,
      clock,
      newId: () => this.#world.newId(),
      log: pino({ level: 'silent' }),
      heartbeatMs: 1_000,
      leaseMs: 8_000,
      signal: this.#stop.signal,
    }
    return createMobility(parts, { version: 'test', notes: () => [] })
  }
}

/** Hosts that share a registry and virtual time and copy trees from memory to memory; the decisions are the real ones. */
export class World {
  readonly clock = new VirtualClock()
  readonly registry = new MemoryRegistry()
  readonly hosts: MemoryHost[] = []
  /** How long a copy takes. */
  pullMs = 0
  #ids = 0

  static async start(count: number): Promise<World> {
    const world = new World()
    for (let n = 1; n <= count; n++) world.hosts.push(new MemoryHost(world, `h${n}`))
    for (const host of world.hosts) await host.agent.start()
    await world.clock.advance(3_000)
    return world
  }

  host(n: number): MemoryHost {
    const host = this.hosts[n - 1]
    if (host === undefined) throw new Error(`no host ${n}`)
    return host
  }

  newId(): string {
    return `id${++this.#ids}`
  }

  async record(name: string) {
    const entry = await this.registry.volume(name)
    if (entry === null) throw new Error(`no volume ${name}`)
    return entry.value
  }

  /** Mounts, writes the tree, unmounts, and waits for the release. */
  async use(n: number, name: string, tree: string): Promise<void> {
    const { agent, store } = this.host(n)
    await this.clock.until(agent.mount(name, 'use', 100_000))
    const { id } = await this.record(name)
    store.trees.set(id, tree)
    await agent.unmount(name, 'use')
    await this.clock.advance(1_000)
  }

  /** Where `host` gets its copies from: the other hosts' disks. */
  pullerOf(host: MemoryHost): VolumePuller {
    return {
      pull: async (from, request, volume, signal, onProgress) => {
        const source = this.hosts.find(({ name }) => name === from.address)
        if (source === undefined) throw new WherryError('TRANSFER_CUT', 'nobody there')
        const { id } = await source.agent.source(request, { name: 'asker' }, signal)
        const tree = source.store.trees.get(id) ?? ''
        const total = { bytesTotal: tree.length, filesTotal: 1 }
        onProgress({ ...total, bytesDone: 0, filesDone: 0 })
        await this.clock.sleep(this.pullMs, signal)
        signal.throwIfAborted()
        await host.store.stage(volume, tree)
        onProgress({ ...total, bytesDone: tree.length, filesDone: 1 })
        return { hash: hashOf(tree), bytes: tree.length, complete: true }
      },
    }
  }
}
