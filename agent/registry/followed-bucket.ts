import type { NatsBus } from '../bus/bus.ts'
import { systemClock } from '../runtime/clock.ts'
import { type Bucket, type BucketContent, contentOf, type Decoded, isMarker } from './bucket.ts'
import type { Versioned } from './contract.ts'
import type { EntryChange } from './followed-entries.ts'
import { Follower } from './follower.ts'
import { toKey } from './keys.ts'
import type { StreamState } from './stream.ts'

/** The headers in which a server says which message it passes on, and how long it is if it comes without its value. */
const SEQUENCE_HEADER = 'Nats-Sequence'
const SIZE_HEADER = 'Nats-Msg-Size'

export interface FollowedBucketOptions<T> {
  readonly bucket: Bucket<T>
  readonly bus: NatsBus
  /** Subject on which the servers pass changes on, without the bus's prefix. */
  readonly subject: string
  readonly checkMs: number
  readonly judge: (stream: string, state: StreamState) => Promise<void>
  readonly changed: (change: EntryChange<Decoded<T>> | null) => void
}

/** A bucket whose entries are followed as they change. */
export class FollowedBucket<T> {
  readonly bucket: Bucket<T>
  readonly #follower: Follower<Decoded<T>>
  readonly #bus: NatsBus
  readonly #subject: string

  constructor({ bucket, bus, subject, checkMs, judge, changed }: FollowedBucketOptions<T>) {
    this.bucket = bucket
    this.#bus = bus
    this.#subject = subject
    this.#follower = new Follower({
      bucket: bucket.name,
      stream: bucket,
      clock: systemClock,
      checkMs,
      judge: (state) => judge(bucket.stream, state),
      changed,
    })
  }

  /** Follows the bucket until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { bucket } = this
    const take: Parameters<NatsBus['listen']>[1] = (text, subject, headers) => {
      const revision = Number(headers?.get(SEQUENCE_HEADER))
      if (!Number.isSafeInteger(revision) || revision <= 0) return
      const key = subject.slice(this.#subject.length + 1)
      // A server before 2.10 goes on to pass messages on without their values, as the stream was made so.
      const isBare = text === '' && (headers?.get(SIZE_HEADER) ?? '') !== ''
      const value = isMarker(headers) ? null : isBare ? undefined : bucket.decode(key, text, revision)
      this.#follower.take({ key, revision, value })
    }
    this.#bus.listen(`${this.#subject}.>`, take, signal)
    this.#bus.onConnect(() => this.#follower.suspect(), signal)
    await this.#follower.run(signal)
  }

  /** Deletes some old markers of removed keys. Never rejects. */
  async dropMarkers(): Promise<void> {
    await this.bucket.dropMarkers()
  }

  /** Checks at once. */
  suspect(): void {
    this.#follower.suspect()
  }

  /** Reads all values, none older than this call. Rejects REGISTRY_UNAVAILABLE. */
  async readAll(): Promise<BucketContent<T>> {
    await this.#follower.catchUp()
    return contentOf(this.#follower.entries.values())
  }

  /** Returns what was followed. REGISTRY_UNAVAILABLE: that is too old. */
  known(): BucketContent<T> {
    this.#follower.requireCurrent()
    return contentOf(this.#follower.entries.values())
  }

  /** The same of one name; null: none was heard of. */
  knownOf(name: string): Versioned<T> | null {
    this.#follower.requireCurrent()
    return this.#follower.entries.get(toKey(name))?.entry ?? null
  }
}
