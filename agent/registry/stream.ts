/** The newest message of one key of a bucket's stream. */
export interface StoredEntry<V> {
  readonly key: string
  /** The message's sequence in the stream. */
  readonly revision: number
  /** Null: the key was removed. */
  readonly value: V | null
}

/** A message as the server has passed it on. `value` undefined: it came without, and has to be read. */
export interface PassedOn<V> {
  readonly key: string
  readonly revision: number
  readonly value: V | null | undefined
}

/** What the stream's leader says of it. */
export interface StreamState {
  /** Sequence of the newest message ever stored, also if it was deleted since. */
  readonly lastRevision: number
  /** Messages that are stored: one for each key, markers of removed keys included. */
  readonly messages: number
  /** When the stream was made. It differs for a stream that was made anew. */
  readonly created: string
}

/** A bucket's stream, as its leader replies. All calls reject REGISTRY_UNAVAILABLE. */
export interface BucketStream<V> {
  state(): Promise<StreamState>
  /** Returns the first stored message after a revision; null: there is none. */
  next(after: number): Promise<StoredEntry<V> | null>
  /** Reads every key. What is written meanwhile may be in it or not. */
  all(): Promise<StoredEntry<V>[]>
}
