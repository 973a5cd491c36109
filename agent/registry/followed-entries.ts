import type { PassedOn, StoredEntry } from './stream.ts'

/** What is known of one key. Value null: it was removed. */
interface Known<V> {
  readonly revision: number
  readonly value: V | null
}

/** A change of one key; null: there is no value. */
export interface EntryChange<V> {
  readonly key: string
  readonly before: V | null
  readonly after: V | null
}

/**
 * The entries of a stream, put together from messages in any order.
 * Everything up to `through` is here. What came beyond a hole counts as well: a key's newest message wins.
 */
export class FollowedEntries<V> {
  readonly #known = new Map<string, Known<V>>()
  #through = 0
  /** The newest revision that was heard of. */
  #heard = 0
  /** Revisions above `#through + 1` that have come. */
  readonly #ahead = new Set<number>()
  /** Keys that were removed. They are kept while an older message of theirs may still come. */
  readonly #markers = new Set<string>()

  /** Every message up to this revision has come, or was replaced by one that has. */
  get through(): number {
    return this.#through
  }

  /** Keys that have a value. */
  get size(): number {
    return this.#known.size - this.#markers.size
  }

  /** A message is missing that was followed by another one, or came without its value. */
  get hasHole(): boolean {
    return this.#heard > this.#through
  }

  get(key: string): V | null {
    return this.#known.get(key)?.value ?? null
  }

  *values(): Generator<V> {
    for (const { value } of this.#known.values()) if (value !== null) yield value
  }

  /** Takes in a message, in any order. Returns the change of its key; null: nothing has changed. */
  take({ key, revision, value }: PassedOn<V>): EntryChange<V> | null {
    if (revision <= this.#through || this.#ahead.has(revision)) return null
    this.#heard = Math.max(this.#heard, revision)
    if (value === undefined) return null
    const known = this.#known.get(key)
    const isNewer = revision > (known?.revision ?? 0)
    if (isNewer) this.#set(key, { revision, value })
    this.#ahead.add(revision)
    this.#advance()
    return isNewer ? { key, before: known?.value ?? null, after: value } : null
  }

  /** Notes that nothing up to this revision is missing. */
  cover(revision: number): void {
    if (revision <= this.#through) return
    this.#through = revision
    for (const ahead of this.#ahead) if (ahead <= revision) this.#ahead.delete(ahead)
    this.#advance()
  }

  /** Replaces everything by what was read. The read began when `through` was the newest revision. */
  replace(entries: readonly StoredEntry<V>[], through: number): void {
    this.#known.clear()
    this.#ahead.clear()
    this.#markers.clear()
    this.#through = through
    this.#heard = through
    for (const { key, revision, value } of entries) if (value !== null) this.#set(key, { revision, value })
  }

  #set(key: string, known: Known<V>): void {
    this.#known.set(key, known)
    if (known.value === null) this.#markers.add(key)
    else this.#markers.delete(key)
  }

  #advance(): void {
    while (this.#ahead.delete(this.#through + 1)) this.#through++
    if (this.#ahead.size > 0) return
    for (const key of this.#markers) this.#known.delete(key)
    this.#markers.clear()
  }
}
