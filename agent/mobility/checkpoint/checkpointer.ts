import { codeOf, type ErrorCode, WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeOptions, VolumeRecord } from '../../model/model.ts'
import { checkpointTargetMs } from '../../model/volume-options.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import { backOffMs } from '../../runtime/back-off.ts'
import type { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { LocalCopy, SpoolRound } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { CheckpointView } from '../contract.ts'
import type { CopyProgress } from '../copy-contract.ts'
import type { CheckpointResult } from '../dependencies.ts'
import { Coverage, type Covered } from './coverage.ts'
import type { Demand } from './demand.ts'
import { freezeAndCapture, overBudget } from './freeze.ts'
import { type Offered, Offers, otherHosts } from './offers.ts'
import { runPreCopyRounds } from './precopy.ts'
import { nextSeq } from './surrendered.ts'

/** One container may have several volumes: pauses come one after another, so that none lets go on what another one stopped. */
const LAST_ROUND = 'last round'
/** Nobody has looked yet what changed. */
const NOT_LOOKED = ''

const RESULTS: ReadonlyMap<ErrorCode | undefined, CheckpointResult> = new Map([
  ['VOLUME_BUSY', 'over_budget'],
  ['CHANGES_MISSED', 'missed'],
])

/** The checkpoints of one hold. */
export class Checkpointer {
  readonly incarnation: string
  readonly #core: Context
  readonly #id: string
  readonly #name: string
  readonly #options: VolumeOptions
  readonly #lastRounds: KeyedQueue
  readonly #offering: Offers
  readonly #coverage: Coverage
  #stop = new AbortController()
  #busy: Promise<void> | null = null
  #dueMs: number
  #intervalMs: number
  /** Mean time that rounds and last round take; null until the second one: the first reads what the containers wrote at their start. */
  #costMs: number | null = null
  #looks = 0
  #failures = 0
  /** Pauses in a row that took too long after rounds that had said so, and until when none is tried again after such rounds. */
  #daredTimes = 0
  #dareAgainMs = Number.NEGATIVE_INFINITY
  #pauseMs: number | null = null
  /** When the newest round was over. */
  #roundMs: number | null = null
  #error: string | null = null
  /** Why files that changed are read whole; null: they are not. */
  #scanned: string | null = NOT_LOOKED

  /** `local` is the held copy, with options that want checkpoints. */
  constructor(core: Context, local: LocalCopy, hold: Offered, lastRounds: KeyedQueue) {
    this.incarnation = hold.incarnation
    this.#core = core
    this.#id = local.id
    this.#name = local.name
    this.#options = local.options
    this.#lastRounds = lastRounds
    this.#intervalMs = this.#targetMs
    this.#dueMs = core.dependencies.clock.elapsedMs() + this.#intervalMs
    this.#coverage = new Coverage(core.dependencies.clock)
    this.#offering = new Offers(core, hold, (host, has) => this.#coverage.heard(host, has?.hash ?? null))
    if (local.checkpoint !== null) this.#coverage.rememberFormer(local.checkpoint)
  }

  get busy(): Promise<void> | null {
    return this.#busy
  }

  get due(): boolean {
    return this.#busy === null && this.#core.dependencies.clock.elapsedMs() >= this.#dueMs
  }

  /** By the newest state of the tree that another host has which is alive; null: none is known. */
  get covered(): Covered | null {
    return this.#coverage.newest((host) => this.#offering.lives(host))
  }

  /** What it would like to have, for the fair share of all. */
  get wish(): Demand {
    return {
      key: this.#id,
      targetMs: this.#targetMs,
      costMs: this.#costMs ?? 0,
    }
  }

  get #targetMs(): number {
    return checkpointTargetMs(this.#options, this.#scanned === null) ?? Number.POSITIVE_INFINITY
  }

  setInterval(ms: number): void {
    this.#dueMs += this.#failures === 0 ? ms - this.#intervalMs : 0
    this.#intervalMs = ms
  }

  /** Takes a checkpoint, if there is anything to take, and offers it. */
  begin(): void {
    this.#busy = this.#try(this.#stop.signal).finally(() => {
      this.#busy = null
    })
  }

  /** Ends what is under way; on return its containers run and nothing here touches the tree. It may be begun again. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('checkpoints of the volume were stopped'))
    this.#stop = new AbortController()
    this.#offering.stop()
    await this.#busy
  }

  view(): CheckpointView {
    const idle = this.#options.consistency === 'live' ? 'fuzzy' : 'waiting'
    const { covered } = this
    const ageMs = covered === null ? null : this.#core.dependencies.clock.elapsedMs() - covered.atMs
    return {
      state: this.#busy === null ? idle : 'running',
      ageSeconds: ageMs === null ? null : Math.round(ageMs / 100) / 10,
      pauseMs: this.#pauseMs,
      intervalMs: Math.round(this.#intervalMs),
      error: this.#error,
      failures: this.#failures,
      scanned: this.#scanned === NOT_LOOKED ? null : this.#scanned,
    }
  }

  /** How another host gets on with the checkpoints. */
  progress(host: string): CopyProgress {
    return this.#offering.progress(host)
  }

  async #try(stopped: AbortSignal): Promise<void> {
    const { dependencies } = this.#core
    const signal = AbortSignal.any([dependencies.signal, stopped])
    const startMs = dependencies.clock.elapsedMs()
    try {
      await this.#takeAndOffer(signal)
      this.#failures = 0
    } catch (error) {
      if (signal.aborted) return
      this.#failures++
      this.#error = error instanceof WherryError ? error.toLine() : String(error)
      const level = this.#failures === 1 ? 'warn' : 'debug'
      dependencies.log[level]({ err: error, id: this.#id }, 'a checkpoint of a volume in use failed; it is tried again')
    } finally {
      // Rounds alone make nobody stand still: they tell when less is written.
      this.#dueMs = startMs + backOffMs(this.#intervalMs, this.#daredTimes > 0 ? 0 : this.#failures)
    }
  }

  /** When the tracker is found to have been wrong, copies may lack something until they have a checkpoint of all that is read then. */
  async #checkpointOfAll(signal: AbortSignal): Promise<Checkpoint | null> {
    const { log } = this.#core.dependencies
    const take = () => this.#counted(() => this.#checkpoint(signal), signal)
    try {
      return await take()
    } catch (error) {
      if (codeOf(error) !== 'CHANGES_MISSED') throw error
      log.error({ err: error, volume: this.#name }, 'copies may lack something that is here; all is read again')
      this.#coverage.keepOnly([])
      await this.#offering.distrust().catch((err: unknown) => {
        log.error({ err, volume: this.#name }, 'the copies could not be marked as behind')
      })
      return await take()
    }
  }

  async #takeAndOffer(signal: AbortSignal): Promise<void> {
    const record = await this.#record(signal)
    const hosts = record === null ? [] : otherHosts(record, this.#core.dependencies.self.id)
    this.#coverage.keepOnly(hosts)
    if (record === null || hosts.length === 0) return
    const checkpoint = await this.#checkpointOfAll(signal)
    if (checkpoint === null) return
    await this.#offering.offer(record, checkpoint, this.#intervalMs, signal)
    this.#error = this.#offering.failures[0] ?? null
  }

  /** The record while it says that this hold stands; the last one that was read while the registry is away: its outage is no reason to stop. */
  async #record(signal: AbortSignal): Promise<VolumeRecord | null> {
    const name = this.#core.confirmed.get(this.#id)?.name
    if (name === undefined) return null
    const { entry } = await rejectOnAbort(this.#core.dependencies.cache.get(name), signal)
    return entry?.value.id === this.#id && entry.value.holder?.incarnation === this.incarnation ? entry.value : null
  }

  async #counted<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await work()
    } catch (error) {
      const result = RESULTS.get(codeOf(error)) ?? 'failed'
      if (!signal.aborted) this.#core.dependencies.tally.checkpoint(this.#name, result)
      throw error
    }
  }

  /** The newest checkpoint: a new one, or the standing one when nothing differs from it. Null: the volume is not in use here. */
  async #checkpoint(signal: AbortSignal): Promise<Checkpoint | null> {
    const { store, clock, pauseBudgetMs } = this.#core.dependencies
    const local = await store.copy(this.#id)
    if (local?.held?.incarnation !== this.incarnation || !(await store.mounted()).has(this.#id)) return null
    signal.throwIfAborted()
    const startMs = clock.elapsedMs()
    const note = ({ scanned }: SpoolRound) => {
      this.#noteScanned(scanned)
      this.#roundMs = clock.elapsedMs()
    }
    const { changed, fits } = await runPreCopyRounds(
      this.#core.dependencies,
      this.#id,
      pauseBudgetMs,
      this.#roundMs,
      signal,
      note,
    )
    const standing = local.checkpoint
    if (!changed && standing !== null) {
      this.#account(clock.elapsedMs() - startMs)
      return this.#unchanged(standing, startMs)
    }
    const roundsMs = clock.elapsedMs() - startMs
    if (fits) {
      this.#daredTimes = 0
      return await this.#lastRound(local, roundsMs, signal)
    }
    if (clock.elapsedMs() < this.#dareAgainMs) {
      this.#account(roundsMs)
      throw overBudget(local, pauseBudgetMs)
    }
    return await this.#dare(local, roundsMs, signal)
  }

  /** More is written all the time than a pause has room for, as far as the rounds tell: the pause may be short enough all the same. */
  async #dare(local: LocalCopy, roundsMs: number, signal: AbortSignal): Promise<Checkpoint> {
    const { clock } = this.#core.dependencies
    const startMs = clock.elapsedMs() - roundsMs
    try {
      const checkpoint = await this.#lastRound(local, roundsMs, signal)
      this.#daredTimes = 0
      return checkpoint
    } catch (error) {
      if (codeOf(error) === 'VOLUME_BUSY') this.#dareAgainMs = startMs + backOffMs(this.#intervalMs, ++this.#daredTimes)
      throw error
    }
  }

  #noteScanned(scanned: string | null): void {
    if (scanned === this.#scanned) return
    const { log } = this.#core.dependencies
    const about = { volume: this.#name, ...(scanned === null ? {} : { why: scanned }) }
    log.info(
      about,
      scanned === null
        ? 'the kernel tells what changes in a volume in use'
        : 'files that change in a volume in use are read whole',
    )
    this.#scanned = scanned
  }

  async #lastRound(local: LocalCopy, roundsMs: number, signal: AbortSignal): Promise<Checkpoint> {
    const { store, clock, log, tally } = this.#core.dependencies
    let startMs = clock.elapsedMs()
    const inTurn = <T>(pausing: () => Promise<T>) =>
      this.#lastRounds.run(LAST_ROUND, () => {
        signal.throwIfAborted()
        startMs = clock.elapsedMs()
        return pausing()
      })
    try {
      const { capture, atMs, at, pauseMs } = await freezeAndCapture(this.#core, local, inTurn, signal)
      this.#pauseMs = pauseMs
      if (local.checkpoint?.hash === capture.hash) return this.#unchanged(local.checkpoint, atMs)
      const { hash, bytes, files } = capture
      const [epoch, seq] = [local.held?.epoch ?? local.epochSeen, nextSeq(this.#core, local)]
      const checkpoint = { epoch, seq, hash, at, bytes, files }
      signal.throwIfAborted()
      await store.spoolCommit(local.id, checkpoint)
      log.debug({ volume: local.name, epoch, seq, pauseMs }, 'checkpoint of a volume in use')
      tally.checkpoint(this.#name, 'taken')
      return this.#remember(checkpoint, atMs)
    } finally {
      this.#account(roundsMs + clock.elapsedMs() - startMs)
    }
  }

  #account(costMs: number): void {
    if (this.#looks++ === 0) return
    this.#costMs = this.#costMs === null ? costMs : (this.#costMs + costMs) / 2
  }

  #unchanged(standing: Checkpoint, atMs: number): Checkpoint {
    this.#core.dependencies.tally.checkpoint(this.#name, 'unchanged')
    return this.#remember(standing, atMs)
  }

  #remember(checkpoint: Checkpoint, atMs: number): Checkpoint {
    this.#coverage.remember(checkpoint, atMs)
    return checkpoint
  }
}
