import type { HostRecord } from '../model.ts'
import type { Clock, HostDirectory } from './parts.ts'

interface Heard {
  record: HostRecord
  /** When a change of the heartbeat was last seen, on this host's own clock: other hosts' clocks are not trusted. */
  changedMs: number
}

/** Keeps what the hosts' heartbeats say. */
export class Directory implements HostDirectory {
  readonly #clock: Clock
  readonly #leaseMs: number
  readonly #heard = new Map<string, Heard>()

  constructor(clock: Clock, leaseMs: number) {
    this.#clock = clock
    this.#leaseMs = leaseMs
  }

  /** Takes in a fresh reading of all heartbeats. */
  see(records: readonly HostRecord[]): void {
    const nowMs = this.#clock.elapsedMs()
    for (const record of records) {
      const before = this.#heard.get(record.id)
      if (before === undefined) {
        // Age of a heartbeat that was there before we looked: by the clocks of both hosts, good enough to show.
        const ageMs = Math.max(0, this.#clock.now().getTime() - Date.parse(record.at))
        this.#heard.set(record.id, { record, changedMs: nowMs - ageMs })
      } else if (before.record.at !== record.at || before.record.incarnation !== record.incarnation) {
        this.#heard.set(record.id, { record, changedMs: nowMs })
      }
    }
  }

  get(id: string): HostRecord | undefined {
    return this.#heard.get(id)?.record
  }

  all(): readonly HostRecord[] {
    return [...this.#heard.values()].map((heard) => heard.record)
  }

  alive(id: string): boolean {
    return this.#silentMs(id) < this.#leaseMs
  }

  label(id: string): string {
    const record = this.get(id)
    return record === undefined ? `host ${id}` : `${record.name} (${record.address})`
  }

  labelWithAge(id: string): string {
    if (this.alive(id)) return this.label(id)
    const silentMs = this.#silentMs(id)
    const age = Number.isFinite(silentMs) ? `not heard from for ${Math.round(silentMs / 1000)} s` : 'never heard from'
    return `${this.label(id)}, ${age}`
  }

  /** Names of the containers that use a volume on a host, by its last heartbeat. */
  containers(host: string, volume: string): readonly string[] {
    return this.get(host)?.uses[volume] ?? []
  }

  #silentMs(id: string): number {
    const heard = this.#heard.get(id)
    return heard === undefined ? Number.POSITIVE_INFINITY : this.#clock.elapsedMs() - heard.changedMs
  }
}
