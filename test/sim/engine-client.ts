import type {
  Engine,
  EngineEvent,
  PlacedTask,
  SwarmNode,
  SwarmService,
  VolumeUser,
} from '../../agent/docker/contract.ts'
import { WherryError } from '../../agent/model/errors.ts'
import type { Container, Containers } from './containers.ts'
import type { Life } from './process.ts'
import type { Chance } from './random.ts'

/** What the engine of a Swarm manager knows of the cluster. */
export interface SwarmView {
  isLeader(host: string): boolean
  /** Whether the agents know by now that there is a Swarm. */
  isJoined(): boolean
  tasks(): PlacedTask[]
  labels(): ReadonlyMap<string, Readonly<Record<string, string>>>
  setLabels(node: string, version: number, prefix: string, labels: Readonly<Record<string, string>>): boolean
  nodes(): readonly SwarmNode[]
  /** What the engine of a host answers; null: it is a manager, and the Swarm has no leader. */
  servicesAt(host: string): readonly SwarmService[] | 'worker' | null
}

/** An engine that does not answer is given up after this long. */
const LIMIT_MS = 2_000
const SLOW_PAUSE = 0.1
const SLOW_PAUSE_MS = 1_500

/** A host's engine as one process of the host reaches it. */
export class EngineClient implements Engine {
  readonly #containers: Containers
  readonly #life: Life
  readonly #chance: Chance
  readonly #swarm: SwarmView
  readonly #kill: (container: Container) => void
  readonly #looksFrozen: (id: string) => boolean

  /** `kill`: what Docker does with a container that is to be killed. */
  constructor(
    machine: {
      containers: Containers
      docker: { kill(container: Container): void }
      freezers: { looksFrozen(id: string): boolean }
    },
    life: Life,
    chance: Chance,
    swarm: SwarmView,
  ) {
    this.#containers = machine.containers
    this.#kill = (container) => machine.docker.kill(container)
    this.#looksFrozen = (id) => machine.freezers.looksFrozen(id)
    this.#life = life
    this.#chance = chance
    this.#swarm = swarm
  }

  users(): Promise<VolumeUser[]> {
    return this.#call(() => this.#containers.users())
  }

  pause(id: string): Promise<boolean> {
    return this.#call(() => {
      const container = this.#containers.find(id)
      if (container?.state !== 'running' || !container.alive) return false
      // runc refuses to pause what it finds frozen.
      if (this.#looksFrozen(id)) throw new WherryError('ENGINE_UNREACHABLE', `${id} cannot be paused: not running.`)
      this.#containers.pause(container)
      return true
    }, this.#pauseMs())
  }

  unpause(id: string): Promise<void> {
    return this.#on(id, (container) => this.#containers.release(container))
  }

  kill(id: string): Promise<void> {
    return this.#on(id, (container) => this.#kill(container))
  }

  nodeLabels(): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
    return this.#call(() => this.#swarm.labels())
  }

  setNodeLabels(...args: Parameters<Engine['setNodeLabels']>): Promise<boolean> {
    return this.#call(() => this.#swarm.setLabels(...args))
  }

  nodes(): Promise<readonly SwarmNode[]> {
    return this.#call(() => this.#swarm.nodes())
  }

  finishedAt(id: string): Promise<Date | null> {
    return this.#call(() => this.#containers.find(id)?.finishedAt ?? null)
  }

  info(): Promise<{ name: string; swarmNode: string | null; leader: boolean }> {
    const { host } = this.#containers
    return this.#call(() => ({
      name: host,
      swarmNode: this.#swarm.isJoined() ? host : null,
      leader: this.#swarm.isLeader(host),
    }))
  }

  /** All volumes here are Wherry's. */
  localVolumes(): Promise<readonly string[]> {
    return this.#call(() => [])
  }

  tasks(): Promise<PlacedTask[]> {
    return this.#call(() => this.#swarm.tasks())
  }

  services(): Promise<readonly SwarmService[] | 'worker' | 'none'> {
    const { host } = this.#containers
    return this.#call(() => {
      const found = this.#swarm.servicesAt(host)
      if (found === null) throw new WherryError('ENGINE_UNREACHABLE', 'The Swarm has no leader.')
      return found
    })
  }

  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void {
    const listener = (event: EngineEvent) => {
      // Events are only hints: some get lost.
      if (!this.#chance.hit(0.03)) this.#life.after(this.#chance.between(0.5, 5), () => handler(event))
    }
    const stop = () => this.#containers.listeners.delete(listener)
    this.#containers.listeners.add(listener)
    this.#life.whenEnded(stop)
    signal.addEventListener('abort', stop, { once: true })
  }

  #on(id: string, work: (container: Container) => void): Promise<void> {
    return this.#call(
      () => {
        const container = this.#containers.find(id)
        if (container !== undefined) work(container)
      },
      this.#chance.between(2, 30),
    )
  }

  /** Some 20 ms, but much more on a host under load. */
  #pauseMs(): number {
    return this.#chance.hit(SLOW_PAUSE) ? this.#chance.between(30, SLOW_PAUSE_MS) : this.#chance.between(2, 30)
  }

  async #call<T>(work: () => T, ms = 0): Promise<T> {
    if (this.#containers.away) {
      await this.#life.wait(LIMIT_MS)
      throw new WherryError('ENGINE_UNREACHABLE', `The engine of ${this.#containers.host} does not answer.`)
    }
    return this.#life.call(ms > 0 ? ms : this.#chance.hit(0.7) ? 0 : this.#chance.between(0.5, 10), work)
  }
}
