/** Handshakes of one network that may fail in a row, and how many more each second. One costs half a millisecond. */
const NETWORK = { burst: 64, perSecond: 64 }
/** The same of all networks together that have failed lately: a tenth of a core. */
const ALL = { burst: 256, perSecond: 256 }
/** Networks that are remembered; of more, the ones that failed first are forgotten. */
const NETWORKS_MAX = 4_096

/** What is left of a budget that fills again with time. */
interface Budget {
  left: number
  atMs: number
}

/** Limits the work for clients that fail their handshakes. A network without failures is never held up. */
export class FailedHandshakes {
  readonly #networks = new Map<string, Budget>()
  readonly #all: Budget = { left: ALL.burst, atMs: 0 }

  /** Whether a handshake of this network may begin now. */
  mayBegin(network: string, nowMs: number): boolean {
    const budget = this.#networks.get(network)
    if (budget === undefined) return true
    refill(budget, NETWORK, nowMs)
    refill(this.#all, ALL, nowMs)
    if (budget.left === NETWORK.burst) this.#networks.delete(network)
    return budget.left >= 1 && this.#all.left >= 1
  }

  note(network: string, nowMs: number): void {
    const budget = this.#networks.get(network) ?? { left: NETWORK.burst, atMs: nowMs }
    this.#networks.set(network, budget)
    const [first] = this.#networks.keys()
    if (this.#networks.size > NETWORKS_MAX && first !== undefined) this.#networks.delete(first)
    budget.left = Math.max(budget.left - 1, 0)
    this.#all.left = Math.max(this.#all.left - 1, 0)
  }
}

function refill(budget: Budget, { burst, perSecond }: typeof NETWORK, nowMs: number): void {
  budget.left = Math.min(burst, budget.left + ((nowMs - budget.atMs) * perSecond) / 1_000)
  budget.atMs = nowMs
}
