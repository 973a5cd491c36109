import { z } from 'zod'
import type { Dependencies } from '../dependencies.ts'
import type { HostDirectory } from '../host-contract.ts'
import type { HeartbeatLease } from './lease.ts'

/** Renewals that fail for this many heartbeats make this host ask others for a registry leader. */
const ASK_AFTER_HEARTBEATS = 1.5
/**
 * Heartbeats without a leader that break every watcher's row of acknowledged renewals (Lease).
 * A moment of an election does not, and proves nothing.
 */
const LEADERLESS_HEARTBEATS = 3
/**
 * Heartbeats between two requests until the lease is extended; after that one a heartbeat.
 * A server that comes up for a second is seen with a leader for two more (bus/leader-view.ts). Three without one have
 * to follow, again after each failed request, and a lease has only eight.
 */
const ASK_EVERY_HEARTBEATS = 0.25
/** A reply that takes longer does not count. */
const REPLY_HEARTBEATS = 1

const leaderView = z.object({ server: z.boolean(), leader: z.boolean() })

type IsolationDependencies = Pick<
  Dependencies,
  | 'peers'
  | 'leaderView'
  | 'clock'
  | 'self'
  | 'signal'
  | 'heartbeatMs'
  | 'registryHosts'
  | 'leaderlessQuorum'
  | 'watchdog'
  | 'log'
>

type ProlongedLease = Pick<HeartbeatLease, 'isGivenUp' | 'silentMs' | 'inherit' | 'prolong'>

/**
 * Promise 6's exception: extends the lease while a quorum confirms that the registry has no leader.
 * While this host cannot renew, it asks the hosts of the registry's servers directly, once a heartbeat or more often,
 * whether they see a leader of the stream that leases are written to.
 * While a quorum reports no leader, no host can expire a lease or take a volume over, so this host's lease is
 * extended. It must have run when that began, under this agent or an earlier one: others may have ended it otherwise.
 */
export class Isolation {
  readonly #dependencies: IsolationDependencies
  readonly #hosts: Pick<HostDirectory, 'all'>
  readonly #lease: ProlongedLease

  constructor(dependencies: IsolationDependencies, hosts: Pick<HostDirectory, 'all'>, lease: ProlongedLease) {
    this.#dependencies = dependencies
    this.#hosts = hosts
    this.#lease = lease
  }

  /**
   * Watches until the agent stops.
   * With a NATS of the user's own there is nobody to ask, and no exception.
   */
  async run(): Promise<void> {
    const { clock, signal, heartbeatMs, leaderlessQuorum, watchdog } = this.#dependencies
    if (!Number.isFinite(leaderlessQuorum)) return
    this.#lease.inherit((await watchdog.inherited()).untilMs)
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
          const extended = this.#lease.prolong(leaderlessSinceMs, startMs)
          if (!said) this.#say(extended)
          said = true
        }
      }
      const hurry = wondering && !said
      const nextMs = startMs + heartbeatMs * (hurry ? ASK_EVERY_HEARTBEATS : 1)
      await clock.sleep(Math.max(0, nextMs - clock.elapsedMs()), signal)
    }
  }

  #say(extended: boolean): void {
    const { log } = this.#dependencies
    if (extended) log.warn('registry has no leader (confirmed by quorum): lease extended')
    else log.warn('registry has no leader: the lease had ended before, and runs again after the next renewal')
  }

  /** Whether a quorum of registry hosts was reached that sees no leader, and no host sees one. */
  async #leaderless(): Promise<boolean> {
    const { registryHosts, leaderlessQuorum, clock, signal, heartbeatMs } = this.#dependencies
    const inTime = AbortSignal.any([signal, clock.deadline(REPLY_HEARTBEATS * heartbeatMs)])
    const replies = await Promise.all(registryHosts.map((address) => this.#ask(address, inTime)))
    const none = replies.filter((reply) => reply === 'no leader').length
    return none >= leaderlessQuorum && !replies.includes('leader')
  }

  async #ask(address: string, signal: AbortSignal): Promise<'leader' | 'no leader' | 'unknown'> {
    const { peers, self } = this.#dependencies
    try {
      const named = this.#hosts.all().filter((host) => host.address === address)
      const ports = new Set(named.length === 0 ? [self.transferPort] : named.map(({ transferPort }) => transferPort))
      const askPort = (port: number) => peers.ask({ address, port }, { kind: 'registry' }, signal)
      // Whoever replies there has a certificate for the address, whatever other heartbeats name it.
      const reply =
        address === self.address
          ? await this.#dependencies.leaderView()
          : await Promise.any([...ports].map((port) => askPort(port)))
      const seen = leaderView.parse(reply)
      // A host that runs none of the servers does not count.
      if (!seen.server) return 'unknown'
      return seen.leader ? 'leader' : 'no leader'
    } catch {
      // Not reached: it may be on the side that has a leader.
      return 'unknown'
    }
  }
}
