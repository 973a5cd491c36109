import type { EngineEvent, VolumeUser } from '../../agent/docker/contract.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Random } from './random.ts'

export interface Container {
  readonly id: string
  readonly volume: string
  /** The id with which Docker mounts the volume for it, also after the engine crashed. */
  readonly mountId: string
  readonly createdMs: number
  /**
   * Id of the volume whose tree it sees; null: nothing is mounted for it yet. The name may belong to another volume by
   * now.
   */
  mountedId: string | null
  state: VolumeUser['state']
  finishedAt: Date | null
  /** Its processes exist. Docker learns a moment later that they ended. */
  alive: boolean
  /** Its freezer is set, by Docker for a pause or by Wherry for a checkpoint. */
  frozen: boolean
  /** Docker has the reply to its Mount. */
  mounted: boolean
  /** Docker was told to stop it, and gives it time to end. */
  stopping: boolean
  /** Docker resumed it only to let it end: its last writes do not count. */
  ending: boolean
  /** When an operator paused it; null: nobody but Wherry did. */
  pausedByOtherMs: number | null
  /** A fence was noted for it at that time: a pause of ours was on its way. */
  pausedByOtherNoted: boolean
  /** Its machine is stopped. */
  stopped: boolean
  /** Counts its starts: what was planned for an earlier one is void. */
  run: number
}

export interface ContainerWatch {
  /** A container's processes can write now, or cannot any more. */
  readonly changed: (container: Container) => void
  /** Wherry resumes a container. */
  readonly released: (container: Container) => void
  /** Its freezer was set or cleared by Wherry. */
  readonly froze: (container: Container) => void
  /** A container writes one record, if its disk takes it. */
  readonly write: (container: Container) => void
}

/** How often a container writes a record. */
const WRITE_EVERY_LEAST_MS = 150
const WRITE_EVERY_MOST_MS = 900
/** Now and then a container writes nothing for a while. */
const RESTS = 0.005
const RESTS_AT_START = 0.4
const REST_LEAST_MS = 3_000
const REST_MOST_MS = 30_000

/** The containers of one host, as its engine and kernel know them. */
export class SimContainers {
  readonly host: string
  readonly all: Container[] = []
  /** The engine's API does not reply. */
  away = false
  readonly listeners = new Set<(event: EngineEvent) => void>()
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #watch: ContainerWatch
  readonly #now: () => Date

  constructor(host: string, world: { timeline: Timeline; random: Random }, watch: ContainerWatch, now: () => Date) {
    this.host = host
    this.#timeline = world.timeline
    this.#random = world.random
    this.#watch = watch
    this.#now = now
  }

  users(): VolumeUser[] {
    return this.all.map(({ id, state, volume }) => ({ id, name: id, state, volumes: [volume] }))
  }

  find(id: string): Container | undefined {
    return this.all.find((container) => container.id === id)
  }

  create(id: string, volume: string, mountId: string): Container {
    const bare = {
      mountedId: null,
      state: 'created',
      finishedAt: null,
      alive: false,
      frozen: false,
      mounted: false,
      stopping: false,
      ending: false,
      pausedByOtherMs: null,
      pausedByOtherNoted: false,
      stopped: false,
      run: 0,
    }
    const container: Container = { id, volume, mountId, createdMs: this.#timeline.nowMs, ...bare }
    this.all.push(container)
    return container
  }

  started(container: Container): void {
    container.state = 'running'
    container.alive = true
    container.run++
    this.#watch.changed(container)
    this.#event(container, 'start')
    this.#writeOn(container, container.run, RESTS_AT_START)
  }

  /** Wherry freezes or thaws it: Docker does not notice. */
  setFrozen(container: Container, frozen: boolean): void {
    if (container.frozen === frozen) return
    container.frozen = frozen
    this.#watch.froze(container)
    this.#watch.changed(container)
  }

  /** Announces that a command is about to be run in it, or is. */
  announce(container: Container, action: 'exec_create' | 'exec_start'): void {
    this.#event(container, `${action}: true`)
  }

  /** Docker's own pause. */
  pause(container: Container): void {
    if (container.state !== 'running' || !container.alive) return
    container.state = 'paused'
    container.frozen = true
    this.#watch.changed(container)
    this.#event(container, 'pause')
  }

  /** A resume by Wherry, not by Docker or an operator. */
  release(container: Container): void {
    this.#watch.released(container)
    this.resume(container)
  }

  resume(container: Container): void {
    if (container.state !== 'paused') return
    container.state = 'running'
    container.frozen = false
    container.pausedByOtherMs = null
    this.#watch.changed(container)
    this.#event(container, 'unpause')
  }

  /** Its processes are gone. Docker does not know yet. */
  died(container: Container): void {
    if (!container.alive) return
    container.alive = false
    container.frozen = false
    container.run++
    this.#watch.changed(container)
  }

  /** Docker shows that it has ended. */
  ended(container: Container): void {
    this.died(container)
    container.state = 'exited'
    container.finishedAt = this.#now()
    container.stopping = false
    this.#event(container, 'die')
  }

  remove(container: Container): void {
    const at = this.all.indexOf(container)
    if (at >= 0) this.all.splice(at, 1)
  }

  /** The engine notifies its listeners; a message may be lost with the connection. */
  #event(container: Container, action: string): void {
    if (this.away) return
    const event: EngineEvent = { kind: 'container', action, id: container.id, name: container.id }
    for (const listener of this.listeners) listener(event)
  }

  #writeOn(container: Container, run: number, rests = RESTS): void {
    this.#timeline.after(
      this.#random.hit(rests)
        ? this.#random.between(REST_LEAST_MS, REST_MOST_MS)
        : this.#random.between(WRITE_EVERY_LEAST_MS, WRITE_EVERY_MOST_MS),
      () => {
        if (container.run !== run) return
        if (canWrite(container)) this.#watch.write(container)
        this.#writeOn(container, run)
      },
      true,
    )
  }
}

/** Whether the container's processes exist and are not frozen. */
export function canWrite(container: Container): boolean {
  return container.alive && !container.frozen && !container.ending && !container.stopped
}
