import { pino } from 'pino'
import type { Engine, EngineEvent, SwarmService, VolumeUser } from '../../../agent/docker/contract.ts'
import type { Guard } from '../../../agent/fence/contract.ts'
import type { EngineFact } from '../../../agent/host/engine-facts.ts'
import { Metrics } from '../../../agent/metrics/metrics.ts'
import type { Dependencies } from '../../../agent/mobility/dependencies.ts'
import { createMobility, type RunningMobility } from '../../../agent/mobility/mobility.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { VolumeOptions } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import type { Registry } from '../../../agent/registry/contract.ts'
import type { Peers, VolumePuller } from '../../../agent/transfer/contract.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { MemoryFreezes } from '../../fake/memory-freezes.ts'
import { MemoryPauses } from '../../fake/memory-pauses.ts'
import { MemoryRegistry } from '../../fake/memory-registry.ts'
import { MemoryStore } from '../../fake/memory-store.ts'

/** How often the watchdogs look. */
const WATCH_MS = 100
/** What a question to a nats-server takes. */
const SIGHT_MS = 10

export const OPTIONS: VolumeOptions = DEFAULT_OPTIONS

/** One host: its disk and its engine outlive its agent. */
export class MemoryHost {
  readonly name: string
  readonly store: MemoryStore
  /** Containers as the engine shows them. */
  users: VolumeUser[] = []
  /** When containers last stopped, by id. */
  readonly finished = new Map<string, Date>()
  /** How far its wall clock is from the others'. */
  wallOffsetMs = 0
  /** Volumes of the engine's own driver. */
  readonly localVolumes = new Set<string>()
  /** Tells the newest agent of an event of the engine. */
  engineEvent: (event: EngineEvent) => void = () => undefined
  /** When its hypervisor stopped it, and for how long it has stood still in all: its clocks stand still, too. */
  #stoppedAtMs: number | null = null
  #stoodStillMs = 0
  /** How long the engine takes to list its containers. */
  engineMs = 0
  /** Set: the engine does not answer. */
  engineError: WherryError | null = null
  /** What the engine says of the Swarm's services. */
  services: readonly SwarmService[] | 'worker' | 'none' = 'none'
  /** What this host has paused, and the last word to its watchdog; both outlive the agent. */
  readonly pauses = new MemoryPauses(this)
  readonly freezes: MemoryFreezes
  guard: Guard | null = null
  /** What its disk says of its engine. */
  engineFacts: EngineFact | null = null
  /** False: the engine does not say who it is, as for some time after a boot. */
  engineTells = true
  swarmNode: string | null = null
  /** A person wants its copies to leave. */
  drained = false
  /** False: nothing reaches this host, and it reaches nobody, the registry included. */
  connected = true
  /** By subject, of this host's newest agent: what other agents would tell it. */
  readonly subscribers = new Map<string, (message: unknown, subject: string) => void>()
  agent: RunningMobility
  metrics = new Metrics()
  readonly #world: World
  #stop = new AbortController()

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
    this.store = new MemoryStore(world.clock)
    this.freezes = new MemoryFreezes(world.clock, () => this.users)
    this.agent = this.#createAgent()
  }

  /** Starts the agent anew on the same disk, as after a kill: nothing that was only in memory is left. */
  async restart(): Promise<void> {
    this.kill()
    this.#stop = new AbortController()
    this.metrics = new Metrics()
    this.agent = this.#createAgent()
    await this.agent.start()
    await this.#world.clock.advance(0)
  }

  kill(): void {
    this.#stop.abort()
    this.store.agentEnded()
  }

  /** Its hypervisor stops the machine: nothing reaches it, and its clocks stand still. */
  stopMachine(): void {
    this.#stoppedAtMs = this.#world.clock.elapsedMs()
    this.connected = false
  }

  resumeMachine(): void {
    this.#stoodStillMs += this.#world.clock.elapsedMs() - (this.#stoppedAtMs ?? this.#world.clock.elapsedMs())
    this.#stoppedAtMs = null
    this.connected = true
  }

  /** Its CLOCK_BOOTTIME. */
  elapsedMs(): number {
    return (this.#stoppedAtMs ?? this.#world.clock.elapsedMs()) - this.#stoodStillMs
  }

  /** Puts a container into another state, if it is in the first one. */
  setState(id: string, from: string, to: string): boolean {
    const found = this.users.find((user) => user.id === id)
    if (found?.state !== from) return false
    this.users = this.users.map((user) => (user.id === id ? { ...user, state: to } : user))
    return true
  }

  /** A container is gone. */
  end(id: string): void {
    this.users = this.users.filter((user) => user.id !== id)
  }

  /** What the watchdog in the plugin's process does, as the real one does it. */
  async watch(): Promise<void> {
    const { guard } = this
    if (guard === null || this.elapsedMs() < guard.untilMs) return
    const running = this.users.filter(({ state }) => state === 'running')
    for (const user of running) {
      const volumes = guard.volumes.filter(({ name }) => user.volumes.includes(name)).map(({ id }) => id)
      if (volumes.length > 0) await this.pauses.pause([{ container: user.id, volumes }])
    }
  }

  #createAgent(): RunningMobility {
    const { clock } = this.#world
    const registry = this.#world.registryOf(this)
    const inherited = this.guard?.volumes ?? []
    const engine: Engine = {
      users: async () => {
        await clock.sleep(this.engineMs, new AbortController().signal)
        if (this.engineError !== null) throw this.engineError
        return this.users
      },
      pause: async (id) => this.setState(id, 'running', 'paused'),
      unpause: async (id) => void this.setState(id, 'paused', 'running'),
      kill: async (id) => this.end(id),
      nodes: async () => [],
      nodeLabels: async () => new Map(),
      setNodeLabels: async () => true,
      finishedAt: async (id) => this.finished.get(id) ?? null,
      info: async () => {
        if (!this.engineTells) throw new WherryError('ENGINE_UNREACHABLE', 'The engine is starting.')
        return { name: this.name, swarmNode: this.swarmNode, leader: false }
      },
      tasks: async () => [],
      services: async () => {
        if (this.engineError !== null) throw this.engineError
        return this.services
      },
      localVolumes: async () => [...this.localVolumes],
      watch: (handler) => {
        this.engineEvent = handler
      },
    }
    const self = { id: this.name, address: this.name, transferPort: 1, incarnation: this.#world.newId() }
    const parts: Dependencies = {
      self,
      registry,
      cache: new VolumeCache({ registry }),
      store: this.store,
      puller: this.#world.pullerOf(this),
      bus: {
        publish: (subject, message) => this.#world.publish(this, subject, message),
        subscribe: (subject, handler) => void this.subscribers.set(subject, handler),
        state: () => ({ connected: true, detail: '' }),
      },
      engine,
      clock: {
        now: () => new Date(clock.now().getTime() + this.wallOffsetMs),
        elapsedMs: () => this.elapsedMs(),
        sleep: (ms, signal) => clock.sleep(ms, signal),
        deadline: (ms) => clock.deadline(ms),
      },
      newId: () => this.#world.newId(),
      log: pino({ level: 'silent' }),
      tally: this.metrics.tally,
      peers: this.#world.peersOf(this),
      sight: async () => {
        await clock.sleep(SIGHT_MS, new AbortController().signal)
        return { server: true, leader: !this.#world.registry.away || this.#world.leaderSeen }
      },
      watchdog: {
        guard: (guard) => {
          this.guard = guard
        },
        inherited: async () => inherited,
      },
      pauses: this.pauses,
      freezes: this.freezes,
      heartbeatMs: 1_000,
      leaseMs: 8_000,
      seizeAfterMs: 12_000,
      pauseBudgetMs: 500,
      checkpointShare: 0.2,
      replaceAfterMs: this.#world.replaceAfterMs,
      alone: false,
      registryHosts: this.#world.names,
      leaderlessQuorum: Math.floor(this.#world.names.length / 2) + 1,
      peerAddresses: this.#world.names.map((address) => ({ address, port: 1 })),
      engineFacts: {
        get: () => this.engineFacts,
        set: async (facts) => {
          this.engineFacts = facts
        },
      },
      drainWish: {
        get: () => this.drained,
        set: async (on) => {
          this.drained = on
        },
      },
      signal: this.#stop.signal,
    }
    return createMobility(parts, { version: 'test', notes: () => [] })
  }
}

/** A copy that was asked for. */
export interface Pull {
  readonly by: string
  readonly volume: string
  readonly startMs: number
  end: 'done' | 'cut' | null
}

/** Hosts that share a registry and virtual time and copy trees from memory to memory; the decisions are the real ones. */
export class World {
  readonly clock = new VirtualClock()
  readonly registry = new MemoryRegistry()
  /** The registry's servers name a leader, whether it can be written to or not. */
  leaderSeen = false
  readonly names: string[] = []
  readonly hosts: MemoryHost[] = []
  /** How long a copy takes. */
  pullMs = 0
  /** All copies that were asked for, oldest first. */
  readonly pulls: Pull[] = []
  /** After how long a host that is gone is replaced. */
  replaceAfterMs = 600_000
  #ids = 0

  static async start(count: number, replaceAfterMs = 600_000): Promise<World> {
    const world = new World()
    world.replaceAfterMs = replaceAfterMs
    world.names.push(...Array.from({ length: count }, (_, n) => `h${n + 1}`))
    for (const name of world.names) world.hosts.push(new MemoryHost(world, name))
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

  /** The registry as `host` reaches it. */
  registryOf(host: MemoryHost): Registry {
    return new Proxy<Registry>(this.registry, {
      get: (registry, name: keyof Registry) => {
        if (name === 'watch') return registry.watch.bind(registry)
        return async (...args: unknown[]) => {
          if (!host.connected) throw new WherryError('REGISTRY_UNAVAILABLE', 'The host is cut off.')
          return await (registry[name] as (...args: unknown[]) => Promise<unknown>).apply(registry, args)
        }
      },
    })
  }

  /** Straight questions of `host`. */
  peersOf(host: MemoryHost): Peers {
    return {
      ask: async ({ address }, question, signal) => {
        const asked = this.hosts.find(({ name }) => name === address)
        if (asked === undefined || !asked.connected || !host.connected)
          throw new WherryError('TRANSFER_CUT', 'not reached')
        return await asked.agent.answer(question, { name: host.name }, signal)
      },
    }
  }

  /** Brings news to the newest agents of all hosts that `from` reaches. */
  publish(from: MemoryHost, subject: string, message: unknown): void {
    if (!from.connected) return
    for (const host of this.hosts.filter(({ connected }) => connected)) {
      for (const [wanted, hear] of host.subscribers) if (isMatch(wanted, subject)) hear(message, subject)
    }
  }

  /** Lets time pass with the watchdogs awake. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= WATCH_MS) {
      await this.clock.advance(Math.min(WATCH_MS, left))
      for (const host of this.hosts) await host.watch()
    }
  }

  /** Where `host` gets its copies from: the other hosts' disks. */
  pullerOf(host: MemoryHost): VolumePuller {
    return {
      pull: async (from, request, volume, signal, onProgress) => {
        const source = this.hosts.find(({ name }) => name === from.address)
        if (source === undefined || !source.connected || !host.connected)
          throw new WherryError('TRANSFER_CUT', 'nobody there')
        const { id, kind } = await source.agent.source(request, { name: 'asker' }, signal)
        const { hash, tree: found } = await source.store.give(id, kind)
        const tree = found ?? ''
        const total = { bytesTotal: tree.length, filesTotal: 1 }
        onProgress({ ...total, bytesDone: 0, filesDone: 0 })
        const pull: Pull = { by: host.name, volume: volume.name, startMs: this.clock.elapsedMs(), end: null }
        this.pulls.push(pull)
        await this.clock.sleep(this.pullMs, signal)
        pull.end = signal.aborted ? 'cut' : 'done'
        signal.throwIfAborted()
        if (found === null) return { hash, bytes: 0, complete: false }
        await host.store.stage(volume, tree)
        onProgress({ ...total, bytesDone: tree.length, filesDone: 1 })
        return { hash, bytes: tree.length, complete: true }
      },
    }
  }
}

/** As NATS compares a subject with a subscription: `*` stands for one part of it. */
function isMatch(wanted: string, subject: string): boolean {
  const parts = subject.split('.')
  const wantedParts = wanted.split('.')
  return wantedParts.length === parts.length && wantedParts.every((part, nth) => part === '*' || part === parts[nth])
}
