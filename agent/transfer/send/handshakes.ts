/** Unproved clients of one network: an address, or a /64 of IPv6. A host that has more at once tries again. */
export const HANDSHAKES_PER_NETWORK = 128
/** Unproved clients in all: four networks can use up their share at once. */
export const HANDSHAKES_MAX = 512
/** A host ends its handshake within this time of its first bytes, unless the network between is very bad. */
const SHAKING_LEAST_MS = 1_000

/** A client that has not proved itself yet. */
export interface Unproved {
  readonly network: string
  /** When its handshake began; null while it has sent nothing that could begin one. */
  readonly shakingSinceMs: number | null
}

/**
 * Places for clients that have not proved themselves yet.
 * Where there is none, the most crowded network gives one up: a flood from one network costs no other network a place.
 * Its oldest client goes that has sent nothing, then its oldest that lets its handshake rest, then the new one.
 */
export class Handshakes<T extends Unproved> {
  /** Handshakes of each network, the oldest first. */
  readonly #networks = new Map<string, Set<T>>()
  readonly #perNetwork: number
  readonly #most: number
  #count = 0

  constructor(perNetwork = HANDSHAKES_PER_NETWORK, most = HANDSHAKES_MAX) {
    this.#perNetwork = perNetwork
    this.#most = most
  }

  /** Gives `client` a place. Returns the client that has none any more for it, perhaps itself; undefined: none. */
  enter(client: T, nowMs: number): T | undefined {
    const own = this.#networks.get(client.network) ?? new Set<T>()
    this.#networks.set(client.network, own)
    own.add(client)
    this.#count += 1
    const crowded = own.size > this.#perNetwork ? own : this.#count > this.#most ? this.#mostCrowded() : undefined
    if (crowded === undefined) return undefined
    const isResting = ({ shakingSinceMs }: T) => shakingSinceMs !== null && shakingSinceMs + SHAKING_LEAST_MS < nowMs
    const others = [...crowded].filter((other) => other !== client)
    const silent = others.find(({ shakingSinceMs }) => shakingSinceMs === null)
    const loser = silent ?? others.find(isResting) ?? client
    this.leave(loser)
    return loser
  }

  /** Frees the place of a client that has proved itself, or is gone. May be repeated. */
  leave(client: T): void {
    const own = this.#networks.get(client.network)
    if (own?.delete(client) !== true) return
    this.#count -= 1
    if (own.size === 0) this.#networks.delete(client.network)
  }

  /** Returns the handshakes of the network that has the most; of equals, the one that is there for longest. */
  #mostCrowded(): Set<T> | undefined {
    let most: Set<T> | undefined
    for (const own of this.#networks.values()) if (own.size > (most?.size ?? 0)) most = own
    return most
  }
}
