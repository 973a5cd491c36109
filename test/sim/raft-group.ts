import { FakeBucket } from '../fake/bucket.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { Network } from './network.ts'
import type { Random } from './random.ts'

/**
 * Measured on real servers (docs/architecture.md, registry): a killed leader costs seconds of writes, a stopped one
 * much less. A split vote is repeated: another 4 to 9 s.
 */
const ELECTION_LEAST_MS = 1_000
const ELECTION_MOST_MS = 15_000
/** A leader on the minority side of a partition serves reads for up to this long. */
const STALE_LEAST_MS = 2_000
const STALE_MOST_MS = 16_000
/** A server that hears nothing from its leader reports that after a while. */
const UNNOTICED_LEAST_MS = 1_000
const UNNOTICED_MOST_MS = 9_000

/** One committed write. The checker is given each. */
export interface Commit {
  readonly group: string
  readonly key: string
  readonly revision: number
  readonly before: unknown
  readonly value: unknown
  readonly writer: string
}

/** One JetStream stream: its replicas, its leader, and everything that was ever committed. */
export class RaftGroup extends FakeBucket {
  readonly name: string
  readonly replicas: readonly string[]
  leader: string | null = null
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #network: Network
  readonly #serverUp: (host: string) => boolean
  readonly #onCommit: (commit: Commit) => void
  /** Former leaders that still serve reads, with the revision that they had. */
  readonly #stale = new Map<string, { untilMs: number; revision: number }>()
  /** Until when each replica believes that there is a leader. */
  readonly #believes = new Map<string, number>()
  #electing = false

  constructor(
    name: string,
    replicas: readonly string[],
    world: { timeline: Timeline; random: Random; network: Network },
    serverUp: (host: string) => boolean,
    onCommit: (commit: Commit) => void,
  ) {
    super(() => world.timeline.nowMs)
    this.name = name
    this.replicas = replicas
    this.#timeline = world.timeline
    this.#random = world.random
    this.#network = world.network
    this.#serverUp = serverUp
    this.#onCommit = onCommit
  }

  /** Call it whenever a server or a link changes. */
  look(): void {
    const nowMs = this.#timeline.nowMs
    if (this.leader !== null && !this.#canLead(this.leader)) {
      if (this.#serverUp(this.leader)) {
        const untilMs = nowMs + this.#random.between(STALE_LEAST_MS, STALE_MOST_MS)
        this.#stale.set(this.leader, { untilMs, revision: this.revision })
      }
      this.leader = null
    }
    for (const replica of this.replicas) this.#lookAt(replica, nowMs)
    if (this.leader === null && !this.#electing && this.replicas.some((replica) => this.#canLead(replica))) {
      this.#electing = true
      this.#timeline.after(this.#random.between(ELECTION_LEAST_MS, ELECTION_MOST_MS), () => this.#elect())
    }
  }

  /** The leader steps down. */
  stepDown(): void {
    this.leader = null
    this.look()
  }

  /** Whether this host's server sees a leader. A server without a replica asks one within reach. */
  sees(host: string): boolean {
    if (!this.#serverUp(host)) return false
    if (this.replicas.includes(host)) return (this.#believes.get(host) ?? 0) > this.#timeline.nowMs
    return this.replicas.some((replica) => this.#linked(host, replica) && this.sees(replica))
  }

  /** The revision that a read through this server sees now; null: nobody replies. */
  readable(server: string): number | null {
    const { leader } = this
    if (leader !== null && this.#linked(server, leader)) return this.revision
    for (const [old, { untilMs, revision }] of this.#stale) {
      if (untilMs > this.#timeline.nowMs && this.#serverUp(old) && this.#linked(server, old)) return revision
    }
    return null
  }

  writable(server: string): boolean {
    return this.leader !== null && this.#linked(server, this.leader)
  }

  /** The newest value, whoever can read it. */
  truth(key: string): unknown {
    return this.read(key, this.revision)?.value ?? null
  }

  /** Writes as a leader does, and tells the checker what was committed. */
  commit(key: string, value: unknown, expected: number | null, writer: string): number | null {
    const before = this.truth(key)
    const revision = this.write(key, value, expected)
    if (revision !== null) this.#onCommit({ group: this.name, key, revision, before, value, writer })
    return revision
  }

  override setBack(toMs: number): void {
    super.setBack(toMs)
    this.#stale.clear()
  }

  override exchange(): () => void {
    this.#stale.clear()
    const putBack = super.exchange()
    return () => {
      this.#stale.clear()
      putBack()
    }
  }

  override wipe(): void {
    super.wipe()
    this.#stale.clear()
    this.leader = null
  }

  #lookAt(replica: string, nowMs: number): void {
    const inTouch = this.leader !== null && this.#serverUp(replica) && this.#linked(replica, this.leader)
    const believed = this.#believes.get(replica) ?? 0
    if (inTouch) {
      this.#believes.set(replica, Number.POSITIVE_INFINITY)
      this.#stale.delete(replica)
    } else if (!this.#serverUp(replica)) {
      this.#believes.set(replica, 0)
      this.#stale.delete(replica)
    } else if (believed === Number.POSITIVE_INFINITY) {
      this.#believes.set(replica, nowMs + this.#random.between(UNNOTICED_LEAST_MS, UNNOTICED_MOST_MS))
    }
  }

  #elect(): void {
    this.#electing = false
    const able = this.replicas.filter((replica) => this.#canLead(replica))
    if (this.leader === null && able.length > 0) this.leader = this.#random.pick(able)
    this.look()
  }

  #canLead(server: string): boolean {
    if (!this.#serverUp(server)) return false
    const followers = this.replicas.filter((other) => this.#serverUp(other) && this.#linked(server, other))
    return followers.length > this.replicas.length / 2
  }

  #linked(a: string, b: string): boolean {
    return this.#network.linked(a, b)
  }
}
