import type { SimWorld } from './world.ts'

const LOOK_MS = 1_000
/**
 * By then the agent has seen the uses end (it lists containers every two seconds, and waits five minutes for one it
 * never saw), tried a release and sent a heartbeat.
 */
const SILENT_MOST_MS = 25_000

/** Watches that no living host keeps a volume that nobody uses there without reporting why. */
export class StuckWatch {
  readonly #world: SimWorld
  /** By host and volume id: since when it could have reported. */
  readonly #since = new Map<string, number>()

  constructor(world: SimWorld) {
    this.#world = world
  }

  start(): void {
    const look = () => {
      for (const host of this.#world.hosts) this.#look(host)
      this.#world.timeline.after(LOOK_MS, look, true)
    }
    look()
  }

  #look(host: string): void {
    const { checker, registry, timeline } = this.#world
    const { disk, containers } = this.#world.machine(host)
    const isWell =
      checker.liveness.renews(host) && !containers.away && disk.slowness === 1 && registry.lostAnswers === 0
    for (const { record } of disk.shelves.values()) {
      const key = `${host} ${record.id}`
      const isUnused =
        Object.keys(record.mounts).length === 0 && !containers.all.some((one) => isUser(one, record.name))
      const keeps = record.held !== null && (disk.unsupported.has(record.id) || disk.unwritable !== null) && isUnused
      const isHolder = registry.record(record.name)?.holder?.incarnation === record.held?.incarnation
      const said = registry.host(host)
      const isTold = said?.stuck?.[record.id] !== undefined || said?.unwritable != null
      if (!isWell || !keeps || !isHolder || isTold || this.#world.network.trouble > 0) this.#since.delete(key)
      else if (!this.#since.has(key)) this.#since.set(key, timeline.nowMs)
      const silentMs = timeline.nowMs - (this.#since.get(key) ?? timeline.nowMs)
      if (silentMs <= SILENT_MOST_MS) continue
      checker.failed('liveness', `${host} keeps ${record.name}, which nobody uses there, and does not report why`)
    }
  }
}

function isUser(container: { readonly volume: string; readonly state: string }, name: string): boolean {
  return container.volume === name && container.state !== 'exited' && container.state !== 'created'
}
