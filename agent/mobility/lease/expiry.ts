import type { HostRecord } from '../../model/model.ts'
import type { Dependencies } from '../dependencies.ts'
import type { Expiry, HostDirectory, Lease } from '../host-contract.ts'

/**
 * Ends the leases of lost hosts.
 * Time decides when that may be tried, the compare-and-set whether the host is lost: its heartbeat must have been
 * unchanged for `seizeAfterMs`, watched without a break, and still be the newest when it is replaced.
 * So a stale read ends no lease, and an outage of the registry restarts the wait.
 */
export class HeartbeatExpiry implements Expiry {
  readonly #dependencies: Pick<Dependencies, 'registry' | 'clock' | 'self' | 'log' | 'seizeAfterMs'>
  readonly #hosts: Pick<HostDirectory, 'heartbeat' | 'label' | 'see'>
  readonly #lease: Pick<Lease, 'runs' | 'unbrokenSinceMs'>

  constructor(
    dependencies: Pick<Dependencies, 'registry' | 'clock' | 'self' | 'log' | 'seizeAfterMs'>,
    hosts: Pick<HostDirectory, 'heartbeat' | 'label' | 'see'>,
    lease: Pick<Lease, 'runs' | 'unbrokenSinceMs'>,
  ) {
    this.#dependencies = dependencies
    this.#hosts = hosts
    this.#lease = lease
  }

  /** Returns the time until the host's lease may be ended if it stays silent; 0: now; Infinity: unknown. */
  inMs(host: string): number {
    const heard = this.#hosts.heartbeat(host)
    if (heard === null) return Number.POSITIVE_INFINITY
    if (heard.entry.value.expiredBy !== null) return 0
    const watchedSinceMs = Math.max(heard.seenMs, this.#lease.unbrokenSinceMs)
    return Math.max(0, watchedSinceMs + this.patienceMs(heard.entry.value) - this.#dependencies.clock.elapsedMs())
  }

  /**
   * Returns how long a host must be silent before its lease may be ended.
   * The longer of its setting and this host's.
   */
  patienceMs(host: Pick<HostRecord, 'seizeAfterMs'>): number {
    return Math.max(this.#dependencies.seizeAfterMs, host.seizeAfterMs ?? 0)
  }

  /**
   * Ends a host's lease, or confirms that it has ended. May be repeated. Rejects REGISTRY_UNAVAILABLE.
   * True: at this moment the host has no lease, and any later hold of it follows a heartbeat that replaces our write.
   * False: it is alive, or nobody can tell.
   */
  async end(host: string): Promise<boolean> {
    const { registry, self, log } = this.#dependencies
    // The newest heartbeat has to be read here, not the one that the reconcile loop read some time ago.
    this.#hosts.see(await registry.hosts())
    const heard = this.#hosts.heartbeat(host)
    if (heard === null || this.inMs(host) > 0 || !this.#lease.runs) return false
    const { value, revision } = heard.entry
    const write = await registry.expireHost(value, revision, self.id)
    if (write.outcome !== 'done') return false
    this.#hosts.see([write.entry])
    if (value.expiredBy === null) log.warn({ host: this.#hosts.label(host) }, 'lease of a silent host ended')
    return true
  }
}
