/**
 * The connections of hosts that have proved themselves.
 * Beyond the most at once, the host that has most of them loses one, so that no host takes a place from another.
 */
export class HostCrowd<Connection> {
  readonly #most: number
  readonly #hosts = new Map<string, Set<Connection>>()
  #size = 0

  constructor(most: number) {
    this.#most = most
  }

  /**
   * Takes a connection in; returns one that must go, perhaps itself. Undefined: none has to.
   * A host with more than all others keeps what it has opened at the same moment, up to the most.
   */
  enter(host: string, connection: Connection): Connection | undefined {
    const own = this.#hosts.get(host) ?? new Set()
    this.#hosts.set(host, own.add(connection))
    this.#size += 1
    if (this.#size <= this.#most) return undefined
    const [most, newest] = this.#fullest() ?? [host, connection]
    const isFuller = (this.#hosts.get(most)?.size ?? 0) > own.size
    if (!isFuller && own.size <= this.#most) return undefined
    const loser = isFuller ? newest : connection
    this.leave(isFuller ? most : host, loser)
    return loser
  }

  /** Returns the connection that goes for one of a host with few; null: there are places left. */
  next(): Connection | null {
    return this.#size < this.#most ? null : (this.#fullest()?.[1] ?? null)
  }

  /** Gives the place of a connection back. May be repeated. */
  leave(host: string, connection: Connection): void {
    const own = this.#hosts.get(host)
    if (own?.delete(connection) !== true) return
    this.#size -= 1
    if (own.size === 0) this.#hosts.delete(host)
  }

  /** The host with the most connections, and its newest one. */
  #fullest(): readonly [host: string, newest: Connection] | null {
    let most: readonly [string, Set<Connection>] | null = null
    for (const one of this.#hosts) if (most === null || one[1].size > most[1].size) most = one
    const newest = most === null ? undefined : [...most[1]].at(-1)
    return most === null || newest === undefined ? null : [most[0], newest]
  }
}
