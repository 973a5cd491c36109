import type { Context } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'

/** Reads that are further apart do not show that a host was silent in between. */
const HEARTBEATS_UNBROKEN = 3

type Needs = Pick<Context, 'hosts'> & {
  readonly dependencies: Pick<Dependencies, 'clock' | 'log' | 'leaseMs' | 'heartbeatMs'> & {
    readonly self: Pick<Dependencies['self'], 'id'>
  }
}

/**
 * Logs each other host once when it goes away and once when it is back.
 * After an outage it watches for a lease first.
 */
export class HostReports {
  readonly #context: Needs
  /** Hosts that are away, by id: when that was found, on the clock's elapsedMs. */
  readonly #away = new Map<string, number>()
  #readMs = Number.NEGATIVE_INFINITY
  /** Since when heartbeats were read without a gap. */
  #unbrokenMs = 0

  constructor(context: Needs) {
    this.#context = context
  }

  /** Call it after each read of the heartbeats. */
  report(): void {
    const { hosts, dependencies } = this.#context
    const { clock, self, leaseMs, heartbeatMs } = dependencies
    const nowMs = clock.elapsedMs()
    if (nowMs - this.#readMs > heartbeatMs * HEARTBEATS_UNBROKEN) this.#unbrokenMs = nowMs
    this.#readMs = nowMs
    if (nowMs - this.#unbrokenMs < leaseMs) return
    for (const { id } of hosts.all()) if (id !== self.id) this.#compare(id, nowMs)
  }

  #compare(id: string, nowMs: number): void {
    const { hosts, dependencies } = this.#context
    const sinceMs = this.#away.get(id)
    const host = hosts.label(id)
    if (hosts.alive(id)) {
      if (sinceMs === undefined) return
      this.#away.delete(id)
      dependencies.log.info({ host, seconds: Math.round((nowMs - sinceMs) / 1000) }, 'host back')
    } else if (sinceMs === undefined) {
      this.#away.set(id, nowMs)
      dependencies.log.warn({ host, silentSeconds: Math.round(hosts.silentMs(id) / 1000) }, 'host away')
    }
  }
}
