import { codeOf } from '../../model/errors.ts'
import type { HostRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import type { Lease } from '../host-contract.ts'
import type { Heartbeat } from './heartbeat.ts'

/**
 * Called when another host has ended the lease, whatever this host's clock says of it. Resolves when nothing runs here
 * any more that others may have taken over: the lease is not taken anew before. When it rejects, it is called again
 * with the next heartbeat. `isStart`: this agent has had no lease yet.
 */
export type OnLeaseEnded = (isStart: boolean) => Promise<void>

/** Two renewals in a row that were acknowledged further apart than this many heartbeats do not prove that the registry worked in between. */
const HEARTBEATS_UNBROKEN = 2.5

/**
 * This host's lease: its heartbeat, renewed by compare-and-set. It runs `leaseMs` from before the newest acknowledged renewal was
 * sent, or since it was last proven that nobody can end it (`prolong`). Other hosts end it only by a compare-and-set of their own, and that only after
 * they have seen the same revision stand still for longer than it runs.
 */
export class HeartbeatLease implements Lease {
  readonly #dependencies: Pick<
    Dependencies,
    'registry' | 'clock' | 'self' | 'log' | 'heartbeatMs' | 'leaseMs' | 'seizeAfterMs' | 'signal'
  >
  readonly #describe: () => Promise<Heartbeat>
  readonly #runsOn: (lapsed: boolean) => void
  readonly #ended: OnLeaseEnded
  readonly #hasMovedOn: () => Promise<boolean>
  /** Revision of our heartbeat as far as we know; null: it must be read. */
  #revision: number | null = null
  #renewal = 0
  #ackedMs = Number.NEGATIVE_INFINITY
  /** End of the newest acknowledged renewal, and of the first of an unbroken row. */
  #answeredMs = Number.NEGATIVE_INFINITY
  #unbrokenMs = Number.POSITIVE_INFINITY
  #provenMs = Number.NEGATIVE_INFINITY
  /**
   * When this host last found that its lease had been ended; and whether it was, since the newest acknowledged renewal.
   */
  #endedMs = Number.NEGATIVE_INFINITY
  #isEnded = false
  /** What must follow from that has not been done yet. */
  #isEnding = false
  /**
   * The newest renewal was refused although none before it can have taken effect without an answer: somebody else has
   * written.
   */
  #isForeign = false
  /** The revision of the newest acknowledged renewal; null: none yet. */
  #ackedRevision: number | null = null
  /** A renewal since then whose answer was lost may have taken effect: the next one is refused because of it. */
  #isUnsure = false
  #lost = false
  /** When the lease was given up; null: it was not. */
  #givenUpMs: number | null = null
  /** One more heartbeat is to say why. */
  #hasLastWord = false

  /**
   * `describe` says what the heartbeat carries, and must not wait for long; `runsOn` is called whenever the lease has
   * got a new end (`lapsed`: it had been over, or was ended just now). `hasMovedOn` says whether a record shows that
   * some volume held here has gone on elsewhere.
   */
  constructor(
    dependencies: Dependencies,
    describe: () => Promise<Heartbeat>,
    runsOn: (lapsed: boolean) => void,
    ended: OnLeaseEnded,
    hasMovedOn: () => Promise<boolean>,
  ) {
    this.#dependencies = dependencies
    this.#describe = describe
    this.#runsOn = runsOn
    this.#ended = ended
    this.#hasMovedOn = hasMovedOn
  }

  /**
   * On the clock's elapsedMs; in the past when the lease is over. -Infinity: this agent has not had one, and knows of
   * nobody who ended it.
   */
  get untilMs(): number {
    const runsUntilMs = Math.max(this.#ackedMs, this.#provenMs) + this.#dependencies.leaseMs
    return Math.min(Math.max(this.#endedMs, runsUntilMs), this.#givenUpMs ?? Infinity)
  }

  /** The lease was given up: it is over, and not renewed. */
  get isGivenUp(): boolean {
    return this.#givenUpMs !== null
  }

  /**
   * The lease is over from now on: this host cannot keep what it promises. One more heartbeat tells the others why.
   * Nobody ends it before its time all the same.
   */
  giveUp(): void {
    this.#givenUpMs ??= this.#dependencies.clock.elapsedMs()
    this.#hasLastWord = true
  }

  /** The lease may be renewed again; it runs from the next renewal on. */
  takeUp(): void {
    this.#givenUpMs = null
    this.#hasLastWord = false
    this.#ackedMs = Number.NEGATIVE_INFINITY
    this.#provenMs = Number.NEGATIVE_INFINITY
  }

  get runs(): boolean {
    return this.#dependencies.clock.elapsedMs() < this.untilMs
  }

  /** How long ago the newest acknowledged renewal was sent. */
  get silentMs(): number {
    return this.#dependencies.clock.elapsedMs() - this.#ackedMs
  }

  /**
   * Since when every renewal of ours was acknowledged in time: as long as that the registry worked, and a heartbeat that stood still meanwhile
   * was not renewed. Infinity: it does not now.
   */
  get unbrokenSinceMs(): number {
    return this.#dependencies.clock.elapsedMs() - this.#answeredMs > this.#breakMs
      ? Number.POSITIVE_INFINITY
      : this.#unbrokenMs
  }

  /**
   * Nobody was able to end the lease at `atMs` (promise 6): it runs on from there. One that has been ended does not:
   * only a renewal takes it anew.
   */
  prolong(atMs: number): void {
    if (this.#isEnded || this.isGivenUp) return
    const lapsed = !this.runs
    this.#provenMs = Math.max(this.#provenMs, atMs)
    this.#runsOn(lapsed)
  }

  /** Renews until the agent stops. */
  async run(): Promise<void> {
    const { clock, signal, heartbeatMs, log } = this.#dependencies
    while (!signal.aborted) {
      const startMs = clock.elapsedMs()
      try {
        if (!this.isGivenUp || this.#hasLastWord) await this.#renew(startMs)
      } catch (error) {
        this.#unbrokenMs = Number.POSITIVE_INFINITY
        if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') log.error({ err: error }, 'the heartbeat failed')
        else this.#outOfReach(error)
      }
      await clock.sleep(Math.max(0, startMs + heartbeatMs - clock.elapsedMs()), signal)
    }
  }

  get #breakMs(): number {
    return this.#dependencies.heartbeatMs * HEARTBEATS_UNBROKEN
  }

  async #renew(startMs: number): Promise<void> {
    const { registry, clock, self, leaseMs, seizeAfterMs } = this.#dependencies
    // One that is on its way when the lease is given up does not say why.
    const isLastWord = this.#hasLastWord
    const heartbeat = await this.#describe()
    if (this.#revision === null) await this.#read()
    if (this.#isEnding) await this.#end()
    const record: HostRecord = {
      ...heartbeat,
      leaseMs,
      seizeAfterMs,
      incarnation: self.incarnation,
      renewal: ++this.#renewal,
      expiredBy: null,
      at: clock.now().toISOString(),
    }
    const write =
      this.#revision === null ? await registry.addHost(record) : await registry.updateHost(record, this.#revision)
    if (write.outcome === 'done') {
      if (isLastWord) this.#hasLastWord = false
      return this.#acknowledged(write.entry, startMs)
    }
    this.#unbrokenMs = Number.POSITIVE_INFINITY
    if (write.outcome === 'refused') {
      // Somebody ended the lease, or an earlier write of ours whose answer was lost came through.
      this.#revision = null
      this.#isForeign = !this.#isUnsure
      await this.#read()
      if (this.#isEnding) await this.#end()
    } else {
      // The same write can be tried again as it is. A question to a registry without a leader is lost without a word,
      // and waiting for its answer would cost the beats in which there is one again.
      this.#isUnsure = true
      this.#outOfReach(write.cause)
    }
  }

  #outOfReach(error: unknown): void {
    if (!this.#lost) this.#dependencies.log.warn({ err: error }, 'the registry is out of reach')
    this.#lost = true
  }

  #acknowledged(entry: Versioned<HostRecord>, startMs: number): void {
    const nowMs = this.#dependencies.clock.elapsedMs()
    const lapsed = !this.runs
    this.#revision = entry.revision
    this.#ackedRevision = entry.revision
    this.#isUnsure = false
    this.#isEnded = false
    this.#ackedMs = startMs
    if (nowMs - this.#answeredMs > this.#breakMs || this.#unbrokenMs === Number.POSITIVE_INFINITY)
      this.#unbrokenMs = nowMs
    this.#answeredMs = nowMs
    this.#lost = false
    if (!this.isGivenUp) this.#runsOn(lapsed)
  }

  /** Reads this host's heartbeat, and finds out whether somebody has ended the lease. */
  async #read(): Promise<void> {
    const { registry, self, log } = this.#dependencies
    const found = (await registry.hosts()).find((entry) => entry.value.id === self.id)
    this.#revision = found?.revision ?? null
    const isForeign = this.#isForeign
    this.#isForeign = false
    const { expiredBy, incarnation } = found?.value ?? { expiredBy: null, incarnation: 'a recovered registry' }
    const isOther = this.#ackedRevision !== null && (incarnation !== self.incarnation || isForeign)
    if (expiredBy === null && !isOther) return
    // A registry that has lost the heartbeat has ended nothing by that, unless it was recovered while this machine
    // stood still.
    if (found === undefined && !(await this.#hasMovedOn())) return
    // Until the next renewal it stays so.
    if (this.#isEnded) return
    log.warn(
      { by: expiredBy ?? incarnation },
      "this host's lease was ended; it is taken anew when its containers stand still",
    )
    this.#isEnded = true
    this.#isEnding = true
    this.#endedMs = this.#dependencies.clock.elapsedMs()
    this.#ackedMs = Number.NEGATIVE_INFINITY
    this.#provenMs = Number.NEGATIVE_INFINITY
    this.#unbrokenMs = Number.POSITIVE_INFINITY
    this.#runsOn(true)
  }

  async #end(): Promise<void> {
    await this.#ended(this.#ackedRevision === null)
    this.#isEnding = false
  }
}
