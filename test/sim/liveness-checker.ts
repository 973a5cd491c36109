import type { SimWorld } from './world.ts'

/** How long all must have been well with a host before nothing may be fenced on it: a lease and a heartbeat. */
const WELL_FOR_MS = 13_000
/** Nobody could take over for so long, and the outage began so soon after the last renewal. */
const LEADERLESS_FOR_MS = 7_000
const LEADERLESS_AFTER_MS = 500
const LOOK_MS = 250

/** Watches since when each host can renew its lease, or can know that nobody can take its volumes over. */
export class LivenessChecker {
  readonly #world: SimWorld
  readonly #wellSince = new Map<string, number>()
  readonly #lastWell = new Map<string, number>()
  readonly #leaderlessSince = new Map<string, number>()
  /** When the registry was last without a leader. */
  leaderlessMs = Number.NEGATIVE_INFINITY

  constructor(world: SimWorld) {
    this.#world = world
  }

  start(): void {
    this.#world.timeline.after(
      LOOK_MS,
      () => {
        for (const host of this.#world.hosts) this.#look(host)
        this.start()
      },
      true,
    )
  }

  /** An agent started or ended. */
  changedAgents(): void {
    for (const { host, agent } of this.#world.machines()) {
      if (!agent?.process.alive || !agent.serves) this.#wellSince.delete(host)
    }
  }

  /** Whether the host can renew its lease now. One whose heartbeat is lost reads its records first. */
  renews(host: string): boolean {
    const { registry } = this.#world
    const server = registry.serverOf(host)
    if (!this.#processes(host) || server === null || registry.isImpostor || !registry.hosts.writable(server))
      return false
    return registry.host(host) !== null || registry.volumes.writable(server)
  }

  /** For how long nothing has kept the host from renewing its lease. */
  wellForMs(host: string): number {
    const { nowMs } = this.#world.timeline
    return nowMs - (this.#wellSince.get(host) ?? nowMs)
  }

  /** Why nothing of what the host holds may be paused now; null: it may. */
  whyNotToFence(host: string): string | null {
    const { nowMs } = this.#world.timeline
    const wellMs = this.wellForMs(host)
    if (wellMs > WELL_FOR_MS) return `it could renew for ${Math.round(wellMs)} ms`
    const since = this.#leaderlessSince.get(host) ?? nowMs
    const inTime = since - (this.#lastWell.get(host) ?? Number.NEGATIVE_INFINITY) < LEADERLESS_AFTER_MS
    if (nowMs - since <= LEADERLESS_FOR_MS || !inTime) return null
    return `nobody could take over for ${Math.round(nowMs - since)} ms, and it could know`
  }

  #look(host: string): void {
    const { timeline, network, registry } = this.#world
    const { disk, containers } = this.#world.machine(host)
    const { nowMs } = timeline
    const undisturbed = registry.lostAnswers === 0 && network.trouble === 0
    const isDiskWell = disk.slowness === 1 && !disk.full && disk.unwritable === null && disk.unreadable.size === 0
    const calm = undisturbed && isDiskWell && !containers.away
    if (this.renews(host) && calm) {
      if (!this.#wellSince.has(host)) this.#wellSince.set(host, nowMs)
      this.#lastWell.set(host, nowMs)
    } else {
      this.#wellSince.delete(host)
    }
    if (registry.hosts.leader === null || registry.volumes.leader === null) this.leaderlessMs = nowMs
    if (this.#processes(host) && calm && this.#knowsLeaderless(host)) {
      if (!this.#leaderlessSince.has(host)) this.#leaderlessSince.set(host, nowMs)
    } else {
      this.#leaderlessSince.delete(host)
    }
  }

  /** The registry has no leader, and the servers that the host can ask are enough and say so. */
  #knowsLeaderless(host: string): boolean {
    const { network, registry } = this.#world
    if (registry.hosts.leader !== null) return false
    const asked = registry.servers.filter((other) => network.linked(host, other) && this.#answers(other))
    return asked.length >= registry.leaderlessQuorum && asked.every((other) => !registry.hosts.sees(other))
  }

  #processes(host: string): boolean {
    const { plugin, on, stopped } = this.#world.machine(host)
    return on && !stopped && this.#answers(host) && plugin?.process.alive === true
  }

  #answers(host: string): boolean {
    const { agent } = this.#world.machine(host)
    return agent?.process.alive === true && agent.serves && agent.process.stuckUntilMs <= this.#world.timeline.nowMs
  }
}
