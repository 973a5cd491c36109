import { z } from 'zod'
import type { Dependencies } from '../dependencies.ts'
import type { HostDirectory } from '../host-contract.ts'
import type { HeartbeatLease } from './lease.ts'

/** Renewals that fail for as long as this many heartbeats are reason to ask others whether the registry is there at all. */
const ASK_AFTER_HEARTBEATS = 1.5
/**
 * A registry without a leader for this long has broken the row of acknowledged renewals of whoever watches (Lease): a moment of an election alone has
 * not, and proves nothing.
 */
const LEADERLESS_HEARTBEATS = 3
/**
 * Until the lease runs on by these answers the others are asked this often, then every heartbeat. Servers that come up for a second are seen with a leader for two more
 * (bus/sight.ts), and three without one have to follow, anew after each time that one of them said nothing: of the eight that a lease has, none is left to wait for the next question.
 */
const ASK_EVERY_HEARTBEATS = 0.25
/** An answer that takes longer is none. */
const ANSWER_HEARTBEATS = 1

const sight = z.object({ server: z.boolean(), leader: z.boolean() })

/**
 * Promise 6's exception. While this host cannot renew, it asks the hosts of the registry's servers, straight and again every heartbeat at least, whether they see a
 * leader of the stream that leases are written to. As long as so many say no that it cannot have one, nobody anywhere can end a lease, and so take a volume over, and the lease
 * runs on.
 */
export class Isolation {
  readonly #dependencies: Pick<
    Dependencies,
    'peers' | 'sight' | 'clock' | 'self' | 'signal' | 'heartbeatMs' | 'registryHosts' | 'leaderlessQuorum' | 'log'
  >
  readonly #hosts: HostDirectory
  readonly #lease: HeartbeatLease

  constructor(dependencies: Dependencies, hosts: HostDirectory, lease: HeartbeatLease) {
    this.#dependencies = dependencies
    this.#hosts = hosts
    this.#lease = lease
  }

  /** Watches until the agent stops. With a NATS of the user's own there is nobody to ask, and no exception. */
  async run(): Promise<void> {
    const { clock, signal, heartbeatMs, leaderlessQuorum, log } = this.#dependencies
    if (!Number.isFinite(leaderlessQuorum)) return
    let leaderlessSinceMs = Number.POSITIVE_INFINITY
    let said = false
    while (!signal.aborted) {
      const startMs = clock.elapsedMs()
      const wondering = !this.#lease.isGivenUp && this.#lease.silentMs > ASK_AFTER_HEARTBEATS * heartbeatMs
      if (!wondering || !(await this.#leaderless())) {
        leaderlessSinceMs = Number.POSITIVE_INFINITY
        said = false
      } else {
        leaderlessSinceMs = Math.min(leaderlessSinceMs, startMs)
        if (startMs - leaderlessSinceMs >= LEADERLESS_HEARTBEATS * heartbeatMs) {
          this.#lease.prolong(startMs)
          if (!said) log.warn('the registry has no leader, as most hosts of its servers say: holds go on without it')
          said = true
        }
      }
      const hurry = wondering && !said
      const nextMs = startMs + heartbeatMs * (hurry ? ASK_EVERY_HEARTBEATS : 1)
      await clock.sleep(Math.max(0, nextMs - clock.elapsedMs()), signal)
    }
  }

  /** So many registry hosts were reached now that see no leader that there is none, and nobody says otherwise. */
  async #leaderless(): Promise<boolean> {
    const { registryHosts, leaderlessQuorum, clock, signal, heartbeatMs } = this.#dependencies
    const inTime = AbortSignal.any([signal, clock.deadline(ANSWER_HEARTBEATS * heartbeatMs)])
    const answers = await Promise.all(registryHosts.map((address) => this.#ask(address, inTime)))
    const none = answers.filter((answer) => answer === 'no leader').length
    return none >= leaderlessQuorum && !answers.includes('leader')
  }

  async #ask(address: string, signal: AbortSignal): Promise<'leader' | 'no leader' | 'unknown'> {
    const { peers, self } = this.#dependencies
    try {
      const port = this.#hosts.all().find((host) => host.address === address)?.transferPort ?? self.transferPort
      const answer =
        address === self.address
          ? await this.#dependencies.sight()
          : await peers.ask({ address, port }, { kind: 'registry' }, signal)
      const seen = sight.parse(answer)
      // A host that runs none of the servers has no voice.
      if (!seen.server) return 'unknown'
      return seen.leader ? 'leader' : 'no leader'
    } catch {
      // Not reached: it may be on the side that has a leader.
      return 'unknown'
    }
  }
}
