import type { Engine, EngineEvent } from '../../agent/docker/contract.ts'
import { type EngineContainers, engineUnreachable, FakeEngine, type SwarmView } from '../fake/engine.ts'
import { type FakePauseNotes, FakePauses } from '../fake/pauses.ts'
import type { Container, SimContainers } from './containers.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'

/** An engine that does not reply is given up after this long. */
const LIMIT_MS = 2_000
const SLOW_PAUSE = 0.1
const SLOW_PAUSE_MS = 1_500

/** The parts of a machine that its engine's API reaches. */
interface EngineMachine {
  readonly containers: SimContainers
  readonly docker: { kill(container: Container): void }
  readonly freezers: { looksFrozen(id: string): boolean }
  readonly notes: FakePauseNotes
}

/** The engine of a host, as one process of the host reaches it. */
export class EngineClient extends FakeEngine {
  readonly #containers: SimContainers
  readonly #process: SimProcess
  readonly #random: Random

  constructor(machine: EngineMachine, process: SimProcess, random: Random, swarm: SwarmView) {
    super(machine.containers.host, containersOf(machine), swarm)
    this.#containers = machine.containers
    this.#process = process
    this.#random = random
  }

  watch(handler: (event: EngineEvent) => void, signal: AbortSignal): void {
    const listener = (event: EngineEvent) => {
      // Events are only hints: some get lost.
      if (!this.#random.hit(0.03)) this.#process.after(this.#random.between(0.5, 5), () => handler(event))
    }
    const stop = () => this.#containers.listeners.delete(listener)
    this.#containers.listeners.add(listener)
    this.#process.whenEnded(stop)
    signal.addEventListener('abort', stop, { once: true })
  }

  protected async call<R>(name: keyof Engine, _id: string, work: () => R): Promise<R> {
    const ms = this.#workMs(name)
    if (this.#containers.away) {
      await this.#process.wait(LIMIT_MS)
      throw engineUnreachable(`The engine of ${this.#containers.host} does not reply.`)
    }
    return this.#process.call(ms > 0 ? ms : this.#random.hit(0.7) ? 0 : this.#random.between(0.5, 10), work)
  }

  /** How long the engine works on a call; a pause takes some 20 ms, but much more on a host under load. */
  #workMs(name: keyof Engine): number {
    if (name === 'pause' && this.#random.hit(SLOW_PAUSE)) return this.#random.between(30, SLOW_PAUSE_MS)
    return name === 'pause' || name === 'unpause' || name === 'kill' ? this.#random.between(2, 30) : 0
  }
}

/** The pauses of one process of a machine, whose notes are on its disk. */
export function pausesOf(
  machine: { readonly notes: FakePauseNotes },
  engine: Engine,
  process: SimProcess,
  random: Random,
) {
  return new FakePauses(machine.notes, engine, (what, effect) =>
    process.call(what === 'add' ? random.between(0.2, 3) : random.between(0.1, 1), effect),
  )
}

function containersOf({ containers, docker, freezers }: EngineMachine): EngineContainers {
  const on = (id: string, work: (container: Container) => void) => {
    const container = containers.find(id)
    if (container !== undefined) work(container)
  }
  return {
    users: () => containers.users(),
    finishedAt: (id) => containers.find(id)?.finishedAt ?? null,
    pause: (id) => {
      const container = containers.find(id)
      if (container?.state !== 'running' || !container.alive) return false
      // runc refuses to pause what it finds frozen.
      if (freezers.looksFrozen(id)) throw engineUnreachable(`${id} cannot be paused: not running.`)
      containers.pause(container)
      return true
    },
    unpause: (id) => on(id, (container) => containers.release(container)),
    kill: (id) => on(id, (container) => docker.kill(container)),
    // All volumes here are Wherry's.
    localVolumes: () => [],
  }
}
