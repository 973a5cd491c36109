import type {
  Engine,
  EngineEvent,
  PlacedTask,
  SwarmNode,
  SwarmService,
  VolumeUser,
} from '../../agent/docker/contract.ts'
import { WherryError } from '../../agent/model/errors.ts'

/** What a host's engine knows of the containers that use volumes. */
export interface EngineContainers {
  users(): readonly VolumeUser[]
  /** When it last stopped; null: it has not, or it is gone. */
  finishedAt(id: string): Date | null
  /** Docker's own pause of a container that runs; false: it does not. */
  pause(id: string): boolean
  /** Resumes a container that is paused; of any other nothing becomes. */
  unpause(id: string): void
  /** Ends a container, paused or not; one that is gone is no error. */
  kill(id: string): void
  /** Names of the volumes of Docker's own driver. */
  localVolumes(): readonly string[]
}

/** What the engine of a Swarm manager knows of the cluster. */
export interface SwarmView {
  isLeader(host: string): boolean
  /** The host's node id; null: it is in no Swarm, as far as it knows. */
  nodeOf(host: string): string | null
  tasks(): PlacedTask[]
  labels(): ReadonlyMap<string, Readonly<Record<string, string>>>
  setLabels(node: string, version: number, prefix: string, labels: Readonly<Record<string, string>>): boolean
  nodes(): readonly SwarmNode[]
  /** What the engine of a host replies; null: it is a manager, and the Swarm has no leader. */
  servicesAt(host: string): readonly SwarmService[] | 'worker' | 'none' | null
}

/** An engine that is in no Swarm. */
export const NO_SWARM: SwarmView = {
  isLeader: () => false,
  nodeOf: () => null,
  tasks: () => [],
  labels: () => new Map(),
  setLabels: () => true,
  nodes: () => [],
  servicesAt: () => 'none',
}

/**
 * The engine double of unit tests and simulator. How long a call takes, and whether it fails, is up to the subclass.
 */
export abstract class FakeEngine implements Engine {
  readonly #host: string
  readonly #containers: EngineContainers
  readonly #swarm: SwarmView

  constructor(host: string, containers: EngineContainers, swarm: SwarmView) {
    this.#host = host
    this.#containers = containers
    this.#swarm = swarm
  }

  /** Carries one call to the engine. `id`: the container it is about. */
  protected abstract call<R>(name: keyof Engine, id: string, work: () => R): Promise<R>
  abstract watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void

  users(): Promise<VolumeUser[]> {
    return this.call('users', '', () => this.#containers.users().map((user) => ({ ...user })))
  }

  pause(id: string): Promise<boolean> {
    return this.call('pause', id, () => this.#containers.pause(id))
  }

  unpause(id: string): Promise<void> {
    return this.call('unpause', id, () => this.#containers.unpause(id))
  }

  kill(id: string): Promise<void> {
    return this.call('kill', id, () => this.#containers.kill(id))
  }

  finishedAt(id: string): Promise<Date | null> {
    return this.call('finishedAt', id, () => this.#containers.finishedAt(id))
  }

  nodes(): Promise<readonly SwarmNode[]> {
    return this.call('nodes', '', () => this.#swarm.nodes())
  }

  nodeLabels(): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
    return this.call('nodeLabels', '', () => this.#swarm.labels())
  }

  setNodeLabels(...args: Parameters<Engine['setNodeLabels']>): Promise<boolean> {
    return this.call('setNodeLabels', '', () => this.#swarm.setLabels(...args))
  }

  info(): Promise<{ name: string; swarmNode: string | null; leader: boolean }> {
    return this.call('info', '', () => ({
      name: this.#host,
      swarmNode: this.#swarm.nodeOf(this.#host),
      leader: this.#swarm.isLeader(this.#host),
    }))
  }

  tasks(): Promise<PlacedTask[]> {
    return this.call('tasks', '', () => this.#swarm.tasks())
  }

  services(): Promise<readonly SwarmService[] | 'worker' | 'none'> {
    return this.call('services', '', () => {
      const found = this.#swarm.servicesAt(this.#host)
      if (found === null) throw engineUnreachable('The Swarm has no leader.')
      return found
    })
  }

  localVolumes(): Promise<readonly string[]> {
    return this.call('localVolumes', '', () => this.#containers.localVolumes())
  }
}

export function engineUnreachable(message = 'The Docker engine did not reply.'): WherryError {
  return new WherryError('ENGINE_UNREACHABLE', message)
}
