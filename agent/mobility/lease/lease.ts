import { codeOf } from '../../model/errors.ts'
import type { HostRecord } from '../../model/model.ts'
import type { Registry, Versioned } from '../../registry/contract.ts'
import type { Dependencies } from '../dependencies.ts'
import type { Lease } from '../host-contract.ts'
import type { Heartbeat } from './heartbeat.ts'

/**
 * Called when another host has ended the lease, whatever this host's clock says.
 * Resolves when nothing runs here that others may have taken over: the lease is not taken again before.
 * When it rejects, it is called again with the next heartbeat. `isStart`: this agent has had no lease yet.
 */
export type OnLeaseEnded = (isStart: boolean) => Promise<void>

/** Acknowledged renewals that are further apart do not prove that the registry worked in between. */
const HEARTBEATS_UNBROKEN = 2.5

type LeaseDependencies = Pick<
  Dependencies,
  'clock' | 'self' | 'log' | 'heartbeatMs' | 'leaseMs' | 'seizeAfterMs' | 'signal'
> & {
  readonly registry: Pick<Registry, 'ownHost' | 'addHost' | 'updateHost'>
}

/**
 * This host's lease: its heartbeat, renewed by compare-and-set.
 * It runs `leaseMs` from before the newest acknowledged renewal was sent, or from when nobody was able to end it
 * (`prolong`).
 * Other hosts end it only by a compare-and-set of their own, after they have seen the same revision for longer than
 * the lease runs.
 */
export class HeartbeatLease implements Lease {
  readonly #dependencies: LeaseDependencies
  readonly #describe: () => Promise<Heartbeat>
  readonly #onExtended: (lapsed: boolean) => void
  readonly #onEnded: OnLeaseEnded
  readonly #hasMovedOn: () => Promise<boolean>
  /** Revision of our heartbeat as far as we know; null: it must be read. */
  #revision: number | null = null
  #renewal = 0
  #ackedMs = Number.NEGATIVE_INFINITY
  /** When the newest renewal was acknowledged, and the first of an unbroken row. */
  #acknowledgedMs = Number.NEGATIVE_INFINITY
  #unbrokenMs = Number.POSITIVE_INFINITY
  #provenMs = Number.NEGATIVE_INFINITY
  /** Until when the lease ran that an earlier agent of this host had. */
  #inheritedMs = Number.NEGATIVE_INFINITY
  /**
   * When this host last found that its lease had been ended.
   * `#isEnded`: that was since the newest acknowledged renewal.
   */
  #endedMs = Number.NEGATIVE_INFINITY
  #isEnded = false
  /** `onEnded` has not succeeded yet for that. */
  #isEnding = false
  /**
   * The newest renewal was refused, and no unacknowledged one of ours can be the reason.
   * Another host has written.
   */
  #isForeign = false
  /** The revision of the newest acknowledged renewal; null: none yet. */
  #ackedRevision: number | null = null
  /**
   * A renewal since then is unacknowledged and may have taken effect.
   * Then the next one is refused because of it.
   */
  #isUnsure = false
  #lost = false
  /** When the lease was given up; null: it was not. */
  #givenUpMs: number | null = null
  /** One more heartbeat is to say why. */
  #hasLastWord = false

  /**
   * `describe` returns what the heartbeat carries, and must be quick.
   * `onExtended` is called when the lease has a new end (`lapsed`: it had expired, or was ended just now).
   * `hasMovedOn` says whether a record shows that another host has taken over a volume held here.
   */
  constructor(
    dependencies: LeaseDependencies,
    describe: () => Promise<Heartbeat>,
    onExtended: (lapsed: boolean) => void,
    onEnded: OnLeaseEnded,
    hasMovedOn: () => Promise<boolean>,
  ) {
    this.#dependencies = dependencies
    this.#describe = describe
    this.#onExtended = onExtended
    this.#onEnded = onEnded
    this.#hasMovedOn = hasMovedOn
  }

  /**
   * On the clock's elapsedMs; in the past when the lease has expired.
   * -Infinity: this agent has had none, and knows of nobody who ended it.
   */
  get untilMs(): number {
    const runsUntilMs = Math.max(this.#ackedMs, this.#provenMs) + this.#dependencies.leaseMs
    return Math.min(Math.max(this.#endedMs, runsUntilMs), this.#givenUpMs ?? Infinity)
  }

  /** The lease was given up: it has expired, and is not renewed. */
  get isGivenUp(): boolean {
    return this.#givenUpMs !== null
  }

  /**
   * Expires the lease now, because this host cannot keep what it promises. One more heartbeat tells the others why.
   * Other hosts still wait until it would have expired.
   */
  giveUp(): void {
    this.#givenUpMs ??= this.#dependencies.clock.elapsedMs()
    this.#hasLastWord = true
  }

  /** Allows renewals again; the lease runs from the next one on. */
  takeUp(): void {
    this.#givenUpMs = null
    this.#hasLastWord = false
    this.#ackedMs = Number.NEGATIVE_INFINITY
    this.#provenMs = Number.NEGATIVE_INFINITY
    this.#inheritedMs = Number.NEGATIVE_INFINITY
  }

  get runs(): boolean {
    return this.#dependencies.clock.elapsedMs() < this.untilMs
  }

  /** How long ago the newest acknowledged renewal was sent. */
  get silentMs(): number {
    return this.#dependencies.clock.elapsedMs() - this.#ackedMs
  }

  /**
   * Since when every renewal was acknowledged in time: the registry worked for as long.
   * A heartbeat that did not change meanwhile was not renewed. Infinity: it does not work now.
   */
  get unbrokenSinceMs(): number {
    return this.#dependencies.clock.elapsedMs() - this.#acknowledgedMs > this.#breakMs
      ? Number.POSITIVE_INFINITY
      : this.#unbrokenMs
  }

  /** Takes in until when the lease ran that an earlier agent had: it may be extended, and allows nothing before. */
  inherit(untilMs: number): void {
    this.#inheritedMs = untilMs
  }

  /**
   * Extends the lease: nobody was able to end it between `sinceMs` and `atMs` (promise 6). Returns whether it did.
   * One that was ended, or had expired by `sinceMs`, is not extended. Others may have ended it without this host's
   * knowledge, so only a renewal takes it again.
   */
  prolong(sinceMs: number, atMs: number): boolean {
    if (this.#isEnded || this.isGivenUp || sinceMs >= Math.max(this.untilMs, this.#inheritedMs)) return false
    const lapsed = !this.runs
    this.#provenMs = Math.max(this.#provenMs, atMs)
    this.#onExtended(lapsed)
    return true
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
        if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') log.error({ err: error }, 'heartbeat failed')
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
    // A heartbeat that is on its way when the lease is given up does not say why.
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
      // Another host ended the lease, or an earlier write of ours took effect without an acknowledgement.
      this.#revision = null
      this.#isForeign = !this.#isUnsure
      await this.#read()
      if (this.#isEnding) await this.#end()
    } else {
      // The same write can be retried as it is. Requests to a leaderless stream are dropped silently. Waiting for a
      // reply would cost heartbeats.
      this.#isUnsure = true
      this.#outOfReach(write.cause)
    }
  }

  #outOfReach(error: unknown): void {
    if (!this.#lost) this.#dependencies.log.warn({ err: error }, 'registry unreachable')
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
    if (nowMs - this.#acknowledgedMs > this.#breakMs || this.#unbrokenMs === Number.POSITIVE_INFINITY)
      this.#unbrokenMs = nowMs
    this.#acknowledgedMs = nowMs
    if (this.#lost) this.#dependencies.log.info('registry reached again')
    this.#lost = false
    if (!this.isGivenUp) this.#onExtended(lapsed)
  }

  /** Reads this host's heartbeat, and finds out whether another host has ended the lease. */
  async #read(): Promise<void> {
    const { registry, self, log } = this.#dependencies
    const found = await registry.ownHost(self.id)
    this.#revision = found?.revision ?? null
    // A registry that has lost the heartbeat has ended no lease, unless it was recovered while this machine was
    // stopped. While that cannot be read, nothing is renewed.
    const mayBeEnded = found !== null || (await this.#hasMovedOn())
    const isForeign = this.#isForeign
    this.#isForeign = false
    // Somebody wrote over the heartbeat, and perhaps over a mark that the lease has expired.
    const isOverwritten = found !== null && found.value === null
    const nobody = { expiredBy: null, incarnation: isOverwritten ? 'another host' : 'a recovered registry' }
    const { expiredBy, incarnation } = found?.value ?? nobody
    // A new agent knows nothing of the last one's lease; of a heartbeat that is lost only the records can tell.
    const isOther = this.#ackedRevision === null ? found === null : incarnation !== self.incarnation || isForeign
    if (expiredBy === null && !isOther && !isOverwritten) return
    if (!mayBeEnded) return
    // Until the next renewal it stays so.
    if (this.#isEnded) return
    log.warn({ by: expiredBy ?? incarnation }, "this host's lease was ended: renewed once its containers are paused")
    this.#isEnded = true
    this.#isEnding = true
    this.#endedMs = this.#dependencies.clock.elapsedMs()
    this.#ackedMs = Number.NEGATIVE_INFINITY
    this.#provenMs = Number.NEGATIVE_INFINITY
    this.#unbrokenMs = Number.POSITIVE_INFINITY
    this.#onExtended(true)
  }

  async #end(): Promise<void> {
    await this.#onEnded(this.#ackedRevision === null)
    this.#isEnding = false
  }
}
