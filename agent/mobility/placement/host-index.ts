import { hasSpace, type PlacementHost } from './placement-host.ts'

/** Hosts of one zone, the best place for a new copy first. Without a zone a host has no neighbours. */
interface Zone {
  readonly zone: string | null
  readonly hosts: readonly PlacementHost[]
}

const INDEXES = new WeakMap<readonly PlacementHost[], HostIndex>()

/** Finds hosts for many volumes without looking at each host for each volume. */
export class HostIndex {
  readonly #byId: ReadonlyMap<string, PlacementHost>
  readonly #zones: readonly Zone[]

  private constructor(hosts: readonly PlacementHost[]) {
    this.#byId = new Map(hosts.map((host) => [host.id, host]))
    const places = hosts.filter((host) => !host.gone && !host.draining && host.totalBytes > 0).sort(compareRoom)
    const zones = Map.groupBy(places, ({ zone }) => zone)
    this.#zones = [...zones].map(([zone, members]) => ({ zone, hosts: members }))
  }

  /** Returns the index of these hosts, which is made once for each list. */
  static of(hosts: readonly PlacementHost[]): HostIndex {
    const index = INDEXES.get(hosts) ?? new HostIndex(hosts)
    INDEXES.set(hosts, index)
    return index
  }

  get(id: string): PlacementHost | undefined {
    return this.#byId.get(id)
  }

  /**
   * Returns the best place for a new copy.
   * It has few neighbours among `chosen`, then enough free space, then the most. Null: `mayTake` refuses all.
   */
  bestFor(mayTake: (host: PlacementHost) => boolean, chosen: readonly PlacementHost[]): PlacementHost | null {
    let best: PlacementHost | null = null
    let least = Number.POSITIVE_INFINITY
    for (const { zone, hosts } of this.#zones) {
      const neighbours = zone === null ? 0 : chosen.filter((other) => other.zone === zone).length
      if (neighbours > least) continue
      const first = hosts.find(mayTake)
      if (first === undefined || (neighbours === least && best !== null && compareRoom(best, first) < 0)) continue
      best = first
      least = neighbours
    }
    return best
  }
}

/** Sorts full disks last, then by free space. */
function compareRoom(a: PlacementHost, b: PlacementHost): number {
  const hasLittle = (host: PlacementHost) => (hasSpace(host) ? 0 : 1)
  const free = (host: PlacementHost) => host.freeBytes - host.comingBytes
  return hasLittle(a) - hasLittle(b) || free(b) - free(a) || (a.id < b.id ? -1 : 1)
}
