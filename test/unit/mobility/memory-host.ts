import { pino } from 'pino'
import type { Engine, EngineEvent, SwarmService, VolumeUser } from '../../../agent/docker/contract.ts'
import type { Guard } from '../../../agent/fence/contract.ts'
import type { EngineFact } from '../../../agent/host/engine-facts.ts'
import { Metrics } from '../../../agent/metrics/metrics.ts'
import type { Dependencies } from '../../../agent/mobility/dependencies.ts'
import { createMobility, type RunningMobility } from '../../../agent/mobility/mobility.ts'
import type { WherryError } from '../../../agent/model/errors.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import { type EngineContainers, engineUnreachable, FakeEngine, NO_SWARM } from '../../fake/engine.ts'
import { MemoryFreezes } from '../../fake/memory-freezes.ts'
import { MemoryStore } from '../../fake/memory-store.ts'
import { FakePauses } from '../../fake/pauses.ts'
import type { World } from './world.ts'

/** How long a question to a nats-server takes. */
const SIGHT_MS = 10
const NEVER = new AbortController().signal

/** One host: its disk and its engine outlive its agent. */
export class MemoryHost {
  readonly name: string
  readonly store: MemoryStore
  /** Containers as the engine shows them. */
  users: VolumeUser[] = []
  /** When containers last stopped, by id. */
  readonly finished = new Map<string, Date>()
  /** How far its wall clock differs from the others'. */
  wallOffsetMs = 0
  /** Volumes of the engine's own driver. */
  readonly localVolumes = new Set<string>()
  /** Tells the newest agent of an event of the engine. */
  engineEvent: (event: EngineEvent) => void = () => undefined
  /** When its hypervisor stopped it, and for how long it was stopped in all: its clocks stop, too. */
  #stoppedAtMs: number | null = null
  #stoppedForMs = 0
  /** How long the engine takes to list its containers. */
  engineMs = 0
  /** Set: no call of the engine succeeds. */
  engineError: WherryError | null = null
  /** The Swarm's services, as the engine knows them. */
  services: readonly SwarmService[] | 'worker' | 'none' = 'none'
  /** What this host has paused, and the newest message to its watchdog; both outlive the agent. */
  readonly pauses: FakePauses
  readonly freezes: MemoryFreezes
  guard: Guard | null = null
  certificateEnds: Date | null = null
  /** Why its own nats-server does not run. */
  serverTrouble: string | null = null
  /** What its disk knows of its engine. */
  engineFacts: EngineFact | null = null
  /** False: the engine does not say who it is, as for some time after a boot. */
  engineTells = true
  swarmNode: string | null = null
  /** An operator wants its copies to leave. */
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
    this.pauses = new FakePauses(new Map(), new HostEngine(this, async () => undefined))
    this.agent = this.#createAgent()
  }

  /** Restarts the agent on the same disk, as after a kill: nothing that was only in memory is left. */
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

  /** Its hypervisor stops the machine: nothing reaches it, and its clocks stop. */
  stopMachine(): void {
    this.#stoppedAtMs = this.#world.clock.elapsedMs()
    this.connected = false
  }

  resumeMachine(): void {
    const { clock } = this.#world
    this.#stoppedForMs += clock.elapsedMs() - (this.#stoppedAtMs ?? clock.elapsedMs())
    this.#stoppedAtMs = null
    this.connected = true
  }

  /** Its CLOCK_BOOTTIME. */
  elapsedMs(): number {
    return (this.#stoppedAtMs ?? this.#world.clock.elapsedMs()) - this.#stoppedForMs
  }

  /** Does what the watchdog in the plugin's process does. */
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
    return createMobility(this.#dependencies(), { notes: () => [], serverTrouble: () => this.serverTrouble })
  }

  #dependencies(): Dependencies {
    const world = this.#world
    const { clock, names } = world
    const registry = world.registryOf(this)
    const inherited = this.guard ?? { untilMs: Number.NEGATIVE_INFINITY, volumes: [] }
    return {
      self: { id: this.name, address: this.name, transferPort: 1, incarnation: world.newId(), version: 'test' },
      registry,
      cache: new VolumeCache({ registry }),
      store: this.store,
      puller: world.pullerOf(this),
      bus: {
        publish: (subject, message) => world.publish(this, subject, message),
        subscribe: (subject, handler) => void this.subscribers.set(subject, handler),
        state: () => ({ connected: true, detail: '' }),
      },
      engine: new HostEngine(this, (name) => this.#reachEngine(name)),
      clock: {
        now: () => new Date(clock.now().getTime() + this.wallOffsetMs),
        elapsedMs: () => this.elapsedMs(),
        sleep: (ms, signal) => clock.sleep(ms, signal),
        deadline: (ms) => clock.deadline(ms),
      },
      newId: () => world.newId(),
      log: pino({ level: 'silent' }),
      tally: this.metrics.tally,
      peers: world.peersOf(this),
      leaderView: async () => {
        await clock.sleep(SIGHT_MS, NEVER)
        return { server: true, leader: !world.registry.away || world.leaderSeen }
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
      replaceAfterMs: world.replaceAfterMs,
      alone: false,
      registryHosts: names,
      leaderlessQuorum: Math.floor(names.length / 2) + 1,
      certificateEnds: () => this.certificateEnds,
      peerAddresses: names.map((address) => ({ address, port: 1 })),
      engineFacts: {
        get: () => this.engineFacts,
        set: async (facts) => {
          this.engineFacts = facts
        },
      },
      drainFlag: {
        get: () => this.drained,
        set: async (on) => {
          this.drained = on
        },
      },
      signal: this.#stop.signal,
    }
  }

  async #reachEngine(name: keyof Engine): Promise<void> {
    if (name === 'users') await this.#world.clock.sleep(this.engineMs, NEVER)
    if (this.engineError !== null) throw this.engineError
    if (name === 'info' && !this.engineTells) throw engineUnreachable('The engine is starting.')
  }
}

/** The engine of a host, whose containers are what its `users` say. */
class HostEngine extends FakeEngine {
  readonly #host: MemoryHost
  readonly #reach: (name: keyof Engine) => Promise<void>

  /** `reach`: carries a call to the engine; rejects when it does not get there. */
  constructor(host: MemoryHost, reach: (name: keyof Engine) => Promise<void>) {
    const swarm = { ...NO_SWARM, nodeOf: () => host.swarmNode, servicesAt: () => host.services }
    super(host.name, containersOf(host), swarm)
    this.#host = host
    this.#reach = reach
  }

  watch(handler: (event: EngineEvent) => void): void {
    this.#host.engineEvent = handler
  }

  protected async call<R>(name: keyof Engine, _id: string, work: () => R): Promise<R> {
    await this.#reach(name)
    return work()
  }
}

function containersOf(host: MemoryHost): EngineContainers {
  const change = (id: string, from: string, to: string) => {
    const isSo = host.users.some((user) => user.id === id && user.state === from)
    if (isSo) host.users = host.users.map((user) => (user.id === id ? { ...user, state: to } : user))
    return isSo
  }
  return {
    users: () => host.users,
    finishedAt: (id) => host.finished.get(id) ?? null,
    pause: (id) => change(id, 'running', 'paused'),
    unpause: (id) => void change(id, 'paused', 'running'),
    // Its service removes it at once.
    kill: (id) => {
      host.users = host.users.filter((user) => user.id !== id)
    },
    localVolumes: () => [...host.localVolumes],
  }
}
