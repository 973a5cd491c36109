import type { World } from './world.ts'

const LOOK_MS = 1_000
/**
 * The uses must be over for the agent (it looks at its containers every two seconds, and waits five minutes for one it
 * never saw), a release tried, a heartbeat written.
 */
const SILENT_MOST_MS = 25_000

/** Watches that no host that lives keeps a volume that nobody uses there without telling the others why. */
export class StuckWatch {
  readonly #world: World
  /** By host and volume id: since when it could have told. */
  readonly #since = new Map<string, number>()

  constructor(world: World) {
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
    const isWell = checker.vigil.renews(host) && !containers.away && disk.slowness === 1 && registry.lostAnswers === 0
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
      checker.failed('liveness', `${host} keeps ${record.name}, which nobody uses there, and does not say why`)
    }
  }
}

function isUser(container: { readonly volume: string; readonly state: string }, name: string): boolean {
  return container.volume === name && container.state !== 'exited' && container.state !== 'created'
}
