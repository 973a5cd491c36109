import type { EngineEvent, VolumeUser } from '../../agent/docker/contract.ts'
import { WherryError } from '../../agent/model/errors.ts'

interface Container {
  state: string
  finishedAt: Date | null
  readonly volumes: readonly string[]
}

/** The calls of an engine that pause containers, over a Map. */
export class MemoryEngine {
  readonly containers = new Map<string, Container>()
  /** Every call that changes something, such as "pause a". */
  readonly calls: string[] = []
  readonly #handlers: ((event: EngineEvent) => void)[] = []
  /** Awaited at the start of every call: may throw, wait or check. */
  before: (call: string) => Promise<void> | void = () => {}

  run(id: string, ...volumes: string[]): void {
    this.containers.set(id, { state: 'running', finishedAt: null, volumes })
  }

  /** Stops and starts a container, as `docker restart` does: it is no longer paused. */
  restart(id: string): void {
    const container = this.#get(id)
    container.finishedAt = new Date((container.finishedAt?.getTime() ?? 1_750_000_000_000) + 1_000)
    container.state = 'running'
  }

  set(id: string, state: string): void {
    this.#get(id).state = state
  }

  stateOf(id: string): string | undefined {
    return this.containers.get(id)?.state
  }

  async users(): Promise<VolumeUser[]> {
    await this.before('users')
    return Array.from(this.containers, ([id, { state, volumes }]) => ({ id, name: id, state, volumes }))
  }

  /** Calls `handler` for the events of `emit`. */
  watch(handler: (event: EngineEvent) => void): void {
    this.#handlers.push(handler)
  }

  emit(action: string, id: string): void {
    for (const handler of this.#handlers) handler({ kind: 'container', action, id, name: id })
  }

  async finishedAt(id: string): Promise<Date | null> {
    await this.before(`finishedAt ${id}`)
    return this.containers.get(id)?.finishedAt ?? null
  }

  pause(id: string): Promise<boolean> {
    return this.#change(`pause ${id}`, () => this.#turn(id, 'running', 'paused'))
  }

  async unpause(id: string): Promise<void> {
    await this.#change(`unpause ${id}`, () => this.#turn(id, 'paused', 'running'))
  }

  async kill(id: string): Promise<void> {
    await this.#change(`kill ${id}`, () => {
      if (this.containers.has(id)) this.set(id, 'exited')
    })
  }

  async #change<T>(call: string, run: () => T): Promise<T> {
    this.calls.push(call)
    await this.before(call)
    return run()
  }

  #turn(id: string, from: string, to: string): boolean {
    if (this.containers.get(id)?.state !== from) return false
    this.set(id, to)
    return true
  }

  #get(id: string): Container {
    const found = this.containers.get(id)
    if (found === undefined) throw new Error(`there is no container ${id}`)
    return found
  }
}

export function engineUnreachable(): WherryError {
  return new WherryError('ENGINE_UNREACHABLE', 'The Docker engine did not reply.')
}
