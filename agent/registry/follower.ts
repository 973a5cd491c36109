import { unavailable } from '../bus/connection.ts'
import type { Clock } from '../runtime/clock.ts'
import { type EntryChange, FollowedEntries } from './followed-entries.ts'
import type { BucketStream, PassedOn, StreamState } from './stream.ts'

/** What was followed counts for this long after a check is due: one of its requests may be lost. */
const GRACE_MS = 4_000

/** A message that comes out of order is mostly a moment behind. Only after this is it read. */
const HOLE_MS = 100

/** A longer gap is closed by reading every key: many requests at once take less time than as many in a row. */
const GAP_MOST = 256

/** After this long without a check every key is read: markers of removed keys may be gone (`MARKER_KEPT_MS`). */
const RESUME_MOST_MS = 1_800_000

/** Between two attempts while the registry does not reply. */
const RETRY_MS = 500

export interface FollowerOptions<V> {
  readonly bucket: string
  readonly stream: BucketStream<V>
  readonly clock: Pick<Clock, 'elapsedMs' | 'sleep'>
  /** How often the leader is asked whether anything is missing. */
  readonly checkMs: number
  /** Judges the state that the leader reported. If it rejects, nothing of what was followed counts. */
  readonly judge: (state: StreamState) => Promise<void>
  /** Called when a key has changed; null: any may have. */
  readonly changed: (change: EntryChange<V> | null) => void
}

/**
 * Follows one bucket: its entries as they change, without reading them back.
 * The server passes each stored message on once. Messages may be lost, late or doubled. Their revisions are the
 * stream's own sequence, so a gap shows at the next message, or when the leader is asked.
 * What was followed counts as long as the leader has confirmed lately that nothing is missing.
 */
export class Follower<V> {
  readonly entries = new FollowedEntries<V>()
  readonly #options: FollowerOptions<V>
  /** When the newest check was sent that left nothing missing. */
  #checkedMs = Number.NEGATIVE_INFINITY
  #isComplete = false
  /** When the stream was made whose keys were read. */
  #created: string | null = null
  /** The check that runs, and the one that begins when it has ended. */
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  /** Messages that came while every key was being read. */
  #meanwhile: PassedOn<V>[] | null = null
  #woken = new AbortController()
  /** The same, while a message that is missing has its time to come. */
  #awaited: AbortController | null = null

  constructor(options: FollowerOptions<V>) {
    this.#options = options
  }

  /** Takes in a message that the server has passed on. */
  take(message: PassedOn<V>): void {
    this.#meanwhile?.push(message)
    if (!this.#isComplete) return
    const change = this.entries.take(message)
    if (change !== null) this.#options.changed(change)
    if (this.entries.hasHole) this.#checkSoon()
  }

  /** Checks at once: messages may have been lost with a connection. */
  suspect(): void {
    this.#woken.abort()
  }

  /**
   * Returns when nothing was missing last, on the clock's elapsedMs.
   * REGISTRY_UNAVAILABLE: that is too long ago.
   */
  requireCurrent(): number {
    const { clock, checkMs, bucket } = this.#options
    const ageMs = clock.elapsedMs() - this.#checkedMs
    if (this.#isComplete && ageMs <= checkMs + GRACE_MS) return this.#checkedMs
    const since = Number.isFinite(ageMs) ? `for ${Math.round(ageMs / 1000)} s` : 'yet'
    throw unavailable(`no server has confirmed ${since} what is known of bucket ${bucket}`)
  }

  /** Waits until everything is here that was stored when this was called. Rejects REGISTRY_UNAVAILABLE. */
  async catchUp(): Promise<void> {
    if (this.#running === null) return await this.#start()
    // A check that was sent before may have missed it.
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = null
        return this.#running ?? this.#start()
      })
    return await this.#next
  }

  /** Checks from time to time until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, checkMs } = this.#options
    while (!signal.aborted) {
      this.#woken = new AbortController()
      const isChecked = await this.catchUp().then(
        () => true,
        () => false,
      )
      const woken = isChecked ? AbortSignal.any([signal, this.#woken.signal]) : signal
      await clock.sleep(isChecked ? checkMs : RETRY_MS, woken)
    }
  }

  #checkSoon(): void {
    const woken = this.#woken
    if (this.#awaited === woken) return
    this.#awaited = woken
    void this.#options.clock.sleep(HOLE_MS, woken.signal).then(() => {
      if (this.entries.hasHole) woken.abort()
    })
  }

  #start(): Promise<void> {
    this.#running = this.#check().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #check(): Promise<void> {
    const { stream, clock, judge } = this.#options
    const sentMs = clock.elapsedMs()
    const { through, size } = this.entries
    const state = await stream.state()
    try {
      await judge(state)
    } catch (error) {
      this.#isComplete = false
      throw error
    }
    // Another stream counts from the beginning: its numbers say nothing of what is known here.
    const isOther = state.created !== this.#created
    const isOld = sentMs - this.#checkedMs > RESUME_MOST_MS
    // The registry was set back to an older state, or its markers are gone together with what they marked.
    const isLess = state.lastRevision < through || state.messages < size
    const mustRead = !this.#isComplete || isOther || isOld || isLess || !(await this.#closeGap(state.lastRevision))
    if (mustRead) await this.#readAll(state.lastRevision)
    this.#created = state.created
    this.#checkedMs = sentMs
  }

  /** Reads what was stored up to `last` and did not come. False: that is too much to read one by one. */
  async #closeGap(last: number): Promise<boolean> {
    for (let reads = 0; this.entries.through < last; reads++) {
      if (reads === GAP_MOST) return false
      const entry = await this.#options.stream.next(this.entries.through)
      const change = entry === null ? null : this.entries.take(entry)
      if (change !== null) this.#options.changed(change)
      // What lies between was replaced by later messages, or deleted.
      this.entries.cover(entry?.revision ?? last)
    }
    return true
  }

  async #readAll(last: number): Promise<void> {
    this.#meanwhile = []
    this.#isComplete = false
    try {
      const read = await this.#options.stream.all()
      // The server that replied may be behind the leader.
      const newest = read.reduce((most, { revision }) => Math.max(most, revision), 0)
      this.entries.replace(read, Math.min(newest, last))
      if (!(await this.#closeGap(last))) throw unavailable(`bucket ${this.#options.bucket} changes too fast`)
      this.#isComplete = true
      for (const message of this.#meanwhile) this.entries.take(message)
    } finally {
      this.#meanwhile = null
    }
    this.#options.changed(null)
  }
}
