import type { Engine, VolumeUser } from '../../../agent/docker/contract.ts'
import type { VirtualClock } from '../../fake/clock.ts'
import { engineUnreachable } from '../../fake/engine.ts'
import { MemoryFreezes } from '../../fake/memory-freezes.ts'

/** Containers of one host, and what was done to them. */
export class HostContainers {
  users: VolumeUser[] = []
  /** When those that do not run had last stopped. */
  readonly ends = new Map<string, Date>()
  /** Those that are being started: an engine does not reply to an inspect of them meanwhile. */
  readonly starting = new Set<string>()
  readonly freezes: MemoryFreezes
  readonly #volume: string

  /** `volume`: the name of the volume that they use. */
  constructor(clock: VirtualClock, volume: string) {
    this.freezes = new MemoryFreezes(clock, () => this.users)
    this.#volume = volume
  }

  get log(): readonly string[] {
    return this.freezes.log
  }

  get frozen(): readonly string[] {
    return this.freezes.frozen
  }

  run(id: string): void {
    this.users = [...this.users, { id, name: id, state: 'running', volumes: [this.#volume] }]
  }

  /** An engine that shows them, and changes nothing. */
  engine(): Engine {
    return {
      users: async () => this.users,
      finishedAt: async (id) => {
        if (this.starting.has(id)) throw engineUnreachable()
        return this.ends.get(id) ?? null
      },
      pause: async () => false,
      unpause: async () => undefined,
      kill: async () => undefined,
      info: async () => ({ name: '', swarmNode: null, leader: false }),
      nodes: async () => [],
      nodeLabels: async () => new Map(),
      setNodeLabels: async () => false,
      tasks: async () => [],
      localVolumes: async () => [],
      services: async () => 'none',
      watch: () => undefined,
    }
  }
}
