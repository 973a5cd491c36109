import type { HostNames } from '../../host/host-names.ts'
import type { HostRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { HostDirectory } from '../host-contract.ts'

/** No server returns what was before more restarts of an agent than that: stale reads last seconds. */
const INCARNATIONS_KEPT = 16

interface Heard {
  readonly record: HostRecord
  readonly revision: number
  /**
   * When a change of the heartbeat was last seen, on this host's own clock.
   * Other hosts' clocks are not trusted.
   * For the first heartbeat: when it was sent, by both clocks, good enough to show.
   */
  readonly changedMs: number
  /** When this revision was first seen, for certain. */
  readonly seenMs: number
}

/** Keeps what the hosts' heartbeats say. */
export class KnownHosts implements HostDirectory {
  readonly #clock: Clock
  readonly #leaseMs: number
  readonly #names: HostNames | null
  readonly #heard = new Map<string, Heard>()
  readonly #startMs: number
  #readMs = Number.NEGATIVE_INFINITY
  #firstReadMs = Number.POSITIVE_INFINITY
  /** The newest that were heard of, by host, oldest first. */
  readonly #incarnations = new Map<string, Set<string>>()

  /** `names`: what is known of hosts that were not heard of since the agent started. */
  constructor(clock: Clock, leaseMs: number, names: HostNames | null = null) {
    this.#names = names
    this.#clock = clock
    this.#leaseMs = leaseMs
    this.#startMs = clock.elapsedMs()
  }

  /** Takes in heartbeats that were just read or written. */
  see(entries: readonly Versioned<HostRecord>[]): void {
    const seenMs = this.#clock.elapsedMs()
    this.#readMs = seenMs
    this.#firstReadMs = Math.min(seenMs, this.#firstReadMs)
    for (const { value: record, revision } of entries) {
      const before = this.#heard.get(record.id)
      // A stale read must not make a heartbeat look as if it had changed.
      if (before !== undefined && !this.#isNewer(record, revision, before)) continue
      const ageMs = Math.max(0, this.#clock.now().getTime() - Date.parse(record.at))
      // A mark by another host that the lease has ended is no sign of life.
      const changedMs = before === undefined ? seenMs - ageMs : record.expiredBy === null ? seenMs : before.changedMs
      this.#heard.set(record.id, { record, revision, changedMs, seenMs })
      this.#remember(record)
      this.#names?.note(record.id, record)
    }
  }

  #remember({ id, incarnation }: HostRecord): void {
    const known = this.#incarnations.get(id) ?? new Set()
    this.#incarnations.set(id, known.add(incarnation))
    for (const oldest of known) {
      if (known.size <= INCARNATIONS_KEPT) break
      known.delete(oldest)
    }
  }

  /**
   * Whether a heartbeat is newer than the one seen before.
   * Revisions restart when the registry has lost everything, and may then equal one that was seen. So the host's own
   * count of renewals decides, and an incarnation that was never seen counts as newer.
   * A stale read of an agent that came and went makes a host look alive for some time longer.
   */
  #isNewer(record: HostRecord, revision: number, before: Heard): boolean {
    if (record.incarnation !== before.record.incarnation)
      return revision > before.revision || this.#incarnations.get(record.id)?.has(record.incarnation) !== true
    if (record.renewal !== before.record.renewal) return record.renewal > before.record.renewal
    return revision > before.revision
  }

  /** The newest heartbeat that was read, and since when this host has seen it unchanged. */
  heartbeat(id: string): { readonly entry: Versioned<HostRecord>; readonly seenMs: number } | null {
    const heard = this.#heard.get(id)
    return heard === undefined
      ? null
      : { entry: { value: heard.record, revision: heard.revision }, seenMs: heard.seenMs }
  }

  get(id: string): HostRecord | undefined {
    return this.#heard.get(id)?.record
  }

  all(): readonly HostRecord[] {
    return [...this.#heard.values()].map((heard) => heard.record)
  }

  alive(id: string): boolean {
    return this.silentMs(id) < this.#leaseMs && this.#heard.get(id)?.record.expiredBy === null
  }

  /**
   * True: the registry has not replied for longer than a lease.
   * Nobody can tell from here who is alive.
   */
  get stale(): boolean {
    return this.#clock.elapsedMs() - this.#readMs > this.#leaseMs
  }

  get readAt(): string {
    const agoMs = this.#clock.elapsedMs() - Math.max(this.#readMs, this.#startMs)
    return new Date(this.#clock.now().getTime() - agoMs).toISOString()
  }

  /**
   * Whether a host that is not alive is away: true once heartbeats were watched for a lease.
   * Before that the agent may have read none, or old ones of a server that is behind, or ones of a host whose clock
   * is wrong.
   */
  get knowsAway(): boolean {
    return this.#clock.elapsedMs() - this.#firstReadMs >= this.#leaseMs
  }

  /** Nothing was read since the agent started: not even the hosts' names are known. */
  get isEmpty(): boolean {
    return this.#firstReadMs === Number.POSITIVE_INFINITY
  }

  /**
   * When a host that is away was last heard of.
   * ISO 8601 by this host's clock, or `otherwise` when it never was.
   * Null: it is alive, or nobody can tell yet.
   */
  awaySince(id: string, otherwise: string): string | null {
    if (this.alive(id) || !this.knowsAway) return null
    const silentMs = this.silentMs(id)
    return Number.isFinite(silentMs) ? new Date(this.#clock.now().getTime() - silentMs).toISOString() : otherwise
  }

  label(id: string): string {
    const address = this.get(id)?.address ?? this.#names?.get(id)?.address
    return address === undefined ? `host ${id}` : `${this.nameOf(id)} (${address})`
  }

  nameOf(id: string): string {
    return this.#names?.get(id)?.name ?? this.get(id)?.name ?? id
  }

  get unheard(): readonly { readonly id: string; readonly name: string; readonly address: string }[] {
    if (!this.isEmpty) return []
    return Object.entries(this.#names?.all() ?? {}).map(([id, host]) => ({ id, ...host }))
  }

  labelWithAge(id: string): string {
    const unwritable = this.get(id)?.unwritable
    const trouble = unwritable == null ? null : `which cannot write its state directory (${unwritable.code})`
    const about = this.describeAway(id) ?? trouble
    return about === null ? this.label(id) : `${this.label(id)}, ${about}`
  }

  /** For how long a host has been away, for operators; null: it is alive. */
  describeAway(id: string): string | null {
    if (this.alive(id)) return null
    const silentMs = this.silentMs(id)
    const unwritable = this.get(id)?.unwritable
    const why = unwritable == null ? '' : `, because it cannot write its state directory (${unwritable.code})`
    return Number.isFinite(silentMs) ? `not heard from for ${Math.round(silentMs / 1000)} s${why}` : 'never heard from'
  }

  /** Names of the containers that use a volume on a host, by its last heartbeat. */
  containers(host: string, volume: string): readonly string[] {
    return this.get(host)?.uses[volume] ?? []
  }

  /** Time since the host's newest heartbeat came, as far as is known; Infinity: never heard of. */
  silentMs(id: string): number {
    const heard = this.#heard.get(id)
    return heard === undefined ? Number.POSITIVE_INFINITY : this.#clock.elapsedMs() - heard.changedMs
  }
}
