import type { Engine, EngineEvent, VolumeUser } from '../../agent/docker/contract.ts'
import { type EngineContainers, FakeEngine, NO_SWARM } from './engine.ts'

/** Calls that change something. */
const CHANGES: readonly (keyof Engine)[] = ['pause', 'unpause', 'kill']

interface ContainerState {
  state: string
  finishedAt: Date | null
  readonly volumes: readonly string[]
}

/** Containers by id, in the states that Docker gives them. */
class ContainerTable implements EngineContainers {
  readonly all = new Map<string, ContainerState>()

  users(): VolumeUser[] {
    return Array.from(this.all, ([id, { state, volumes }]) => ({ id, name: id, state, volumes }))
  }

  finishedAt(id: string): Date | null {
    return this.all.get(id)?.finishedAt ?? null
  }

  pause(id: string): boolean {
    return this.#change(id, ['running'], 'paused')
  }

  unpause(id: string): void {
    this.#change(id, ['paused'], 'running')
  }

  kill(id: string): void {
    this.#change(id, ['running', 'paused', 'restarting'], 'exited')
  }

  localVolumes(): readonly string[] {
    return []
  }

  #change(id: string, from: readonly string[], to: string): boolean {
    const container = this.all.get(id)
    if (container === undefined || !from.includes(container.state)) return false
    container.state = to
    return true
  }
}

/** An engine in memory, whose containers the test makes. */
export class MemoryEngine extends FakeEngine {
  /** Every call that was to change something, as "pause a". */
  readonly calls: string[] = []
  /** Awaited at the start of every call: may throw, wait, or look at something. */
  before: (call: string) => Promise<void> | void = () => {}
  readonly #containers: ContainerTable
  readonly #handlers = new Set<(event: EngineEvent) => void>()

  constructor() {
    const containers = new ContainerTable()
    super('this host', containers, NO_SWARM)
    this.#containers = containers
  }

  run(id: string, ...volumes: string[]): void {
    this.#containers.all.set(id, { state: 'running', finishedAt: null, volumes })
  }

  /** Stops and starts a container, as `docker restart` does: one that was paused runs then. */
  restart(id: string): void {
    const container = this.#find(id)
    container.finishedAt = new Date((container.finishedAt?.getTime() ?? 1_750_000_000_000) + 1_000)
    container.state = 'running'
  }

  set(id: string, state: string): void {
    this.#find(id).state = state
  }

  stateOf(id: string): string | undefined {
    return this.#containers.all.get(id)?.state
  }

  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void {
    this.#handlers.add(handler)
    signal.addEventListener('abort', () => this.#handlers.delete(handler), { once: true })
  }

  /** Sends an event to all that watch. */
  say(action: string, id: string): void {
    for (const handler of this.#handlers) handler({ kind: 'container', action, id, name: id })
  }

  protected async call<R>(name: keyof Engine, id: string, work: () => R): Promise<R> {
    const line = id === '' ? name : `${name} ${id}`
    if (CHANGES.includes(name)) this.calls.push(line)
    await this.before(line)
    return work()
  }

  #find(id: string): ContainerState {
    const found = this.#containers.all.get(id)
    if (found === undefined) throw new Error(`there is no container ${id}`)
    return found
  }
}
