import type { z } from 'zod'
import { unavailable } from '../bus/connection.ts'
import { headers, type JetStreamManager, type MsgHdrs, type MsgRequest, type NatsConnection } from '../bus/nats.ts'
import { WherryError } from '../model/errors.ts'
import { apiCode, describeNatsError } from './api-code.ts'
import type { Versioned, Write } from './contract.ts'
import { fromKey, toKey } from './keys.ts'
import { parseRecord } from './record-text.ts'
import { RemovalMarkers } from './removal-markers.ts'
import { isTooLarge, writeRepeatedly } from './repeated-write.ts'
import type { BucketStream, StoredEntry, StreamState } from './stream.ts'

/** A lease of 8 s must have time for two attempts to renew it. */
const REQUEST_TIMEOUT_MS = 3_000

/** When a request is sent again: one to a stream without a leader is dropped silently. */
const AGAIN_AFTER_MS = [1_000, 2_000]

/** Concurrent reads in readAll: enough to hide the network's latency, too few to delay a write. */
const READS_AT_ONCE = 32

/** Attempts to read one key when all are read. */
const READ_ATTEMPTS = 5

/** NATS API error codes (nats-server's errors.json). */
const NO_MESSAGE = 10037
export const NO_STREAM = 10059

/** The header in which KV clients mark a removal. */
const OPERATION_HEADER = 'KV-Operation'

/** Provides the connection; implemented by the bus. */
export interface ConnectionSource {
  connection(): NatsConnection
  reach(): Promise<string>
}

interface RawEntry {
  readonly key: string
  readonly revision: number
  readonly time: Date
  /** Null: the key was removed. */
  readonly text: string | null
}

/** What a key has: a value, or one that could not be parsed. */
export type Decoded<T> =
  | { readonly entry: Versioned<T>; readonly key: string }
  | { readonly entry: null; readonly key: string; readonly reason: string }

/** All entries of a bucket. Those that could not be parsed are listed apart. */
export interface BucketContent<T> {
  readonly entries: Versioned<T>[]
  readonly damaged: { readonly key: string; readonly reason: string }[]
}

/** One JetStream KV bucket of JSON values, checked by a schema. */
export class Bucket<T> implements BucketStream<Decoded<T>> {
  readonly name: string
  readonly schema: z.ZodType<T>
  readonly #source: ConnectionSource
  readonly #markers = new RemovalMarkers()
  /** Made once for each connection. */
  #manager: { readonly connection: NatsConnection; readonly manager: JetStreamManager } | null = null

  constructor(name: string, schema: z.ZodType<T>, source: ConnectionSource) {
    this.name = name
    this.schema = schema
    this.#source = source
  }

  get stream(): string {
    return streamOf(this.name)
  }

  /** Reads one value; null: the registry has none. Rejects REGISTRY_UNAVAILABLE, RECORD_INVALID, VERSION_SKEW. */
  async read(name: string): Promise<Versioned<T> | null> {
    const raw = await this.#raw(toKey(name))
    return raw === null || raw.text === null ? null : parseRecord(this, name, raw.text, raw.revision)
  }

  /** Reads one value with its revision, also if it cannot be understood: it is null then. Null: there is none. */
  async readAny(name: string): Promise<Versioned<T | null> | null> {
    const raw = await this.#raw(toKey(name))
    if (raw === null || raw.text === null) return null
    try {
      return parseRecord(this, name, raw.text, raw.revision)
    } catch {
      return { value: null, revision: raw.revision }
    }
  }

  /** Reads every key. REGISTRY_UNAVAILABLE: some could not be read; there are no partial results. */
  async all(): Promise<StoredEntry<Decoded<T>>[]> {
    const keys = await this.#keys()
    const entries: StoredEntry<Decoded<T>>[] = []
    const next = keys.values()
    const worker = async () => {
      for (const key of next) {
        const raw = await this.#insist(key)
        if (raw === null) continue
        if (raw.text === null) this.#markers.note(raw.revision, raw.time.getTime())
        entries.push(this.#stored(raw))
      }
    }
    await Promise.all(Array.from({ length: Math.min(READS_AT_ONCE, keys.length) }, worker))
    return entries
  }

  /** Asks the stream's leader for its state. Rejects REGISTRY_UNAVAILABLE. */
  async state(): Promise<StreamState> {
    const { state, created } = await this.#ask((manager) => manager.streams.info(this.stream))
    return { lastRevision: state.last_seq, messages: state.messages, created }
  }

  /** Reads the first stored message after a revision; null: there is none. Rejects REGISTRY_UNAVAILABLE. */
  async next(after: number): Promise<StoredEntry<Decoded<T>> | null> {
    // The client's types know this request for direct reads only; servers have it for this one since 2.9.
    const request = { seq: after + 1, next_by_subj: this.#subjectOf('>') } as unknown as MsgRequest
    const raw = await this.#message(request)
    return raw === null ? null : this.#stored(raw)
  }

  /** Parses a value as it was passed on by the server. */
  decode(key: string, text: string, revision: number): Decoded<T> {
    try {
      return { key, entry: parseRecord(this, fromKey(key), text, revision) }
    } catch (error) {
      return { key, entry: null, reason: error instanceof WherryError ? error.toLine() : String(error) }
    }
  }

  /** Deletes some old markers of removed keys. Never rejects: it is only housekeeping. */
  async dropMarkers(): Promise<void> {
    await this.#markers.drop((revision) =>
      this.#ask((manager) => manager.streams.deleteMessage(this.stream, revision, false)),
    )
  }

  /** Adds a value. `refused`: the name has one. The name of a removed value is free. */
  async add(name: string, value: T): Promise<Write<T>> {
    const first = await this.#write(name, value, 0)
    if (first.outcome !== 'refused') return first
    let marker: RawEntry | null
    try {
      marker = await this.#raw(toKey(name))
    } catch (error) {
      return { outcome: 'unknown', cause: error as Error }
    }
    // The marker of a removed key is the last message of its subject, so the write has to follow it.
    return marker !== null && marker.text === null ? this.#write(name, value, marker.revision) : first
  }

  /** Replaces a value that is still at `revision`. */
  async update(name: string, value: T, revision: number): Promise<Write<T>> {
    return this.#write(name, value, revision)
  }

  /** Removes a value that is still at `revision`. */
  async remove(name: string, revision: number): Promise<Write<null>> {
    const marker = headers()
    marker.set(OPERATION_HEADER, 'DEL')
    const write = await this.#publish(toKey(name), '', null, revision, marker)
    if (write.outcome === 'done') this.#markers.note(write.entry.revision, Date.now())
    return write
  }

  async #write(name: string, value: T, expected: number): Promise<Write<T>> {
    const checked = this.schema.safeParse(value)
    if (!checked.success)
      throw new WherryError('INTERNAL', `The record of ${name} to be written is wrong: ${checked.error.message}`)
    return this.#publish(toKey(name), JSON.stringify(value), value, expected)
  }

  async #publish<V>(key: string, text: string, value: V, expected: number, more = headers()): Promise<Write<V>> {
    const connection = this.#source.connection()
    const expect = { streamName: this.stream, lastSubjectSequence: expected }
    const js = connection.jetstream({ timeout: REQUEST_TIMEOUT_MS })
    const send = async (afterMs: number) => {
      const options = { headers: more, expect, timeout: REQUEST_TIMEOUT_MS - afterMs }
      const ack = await js.publish(this.#subjectOf(key), text, options)
      return { value, revision: ack.seq }
    }
    return await writeRepeatedly(send, AGAIN_AFTER_MS).catch((error: unknown) => {
      if (!isTooLarge(error)) throw error
      const most = connection.info?.max_payload
      const what = `The record of ${fromKey(key)} has ${Buffer.byteLength(text)} bytes; NATS takes ${most}.`
      throw new WherryError('INTERNAL', what, { cause: error })
    })
  }

  /** Reads one of many keys. A lost reply must not have all of them read again. */
  async #insist(key: string): Promise<RawEntry | null> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#raw(key)
      } catch (error) {
        if (attempt === READ_ATTEMPTS) throw error
      }
    }
  }

  async #raw(key: string): Promise<RawEntry | null> {
    return await this.#message({ last_by_subj: this.#subjectOf(key) })
  }

  async #message(request: MsgRequest): Promise<RawEntry | null> {
    return this.#ask(async (manager) => {
      try {
        const message = await manager.streams.getMessage(this.stream, request)
        const key = message.subject.slice(this.#subjectOf('').length)
        const text = isMarker(message.header) ? null : Buffer.from(message.data).toString('utf8')
        return { key, revision: message.seq, time: message.time, text }
      } catch (error) {
        // A missing stream has the same status 404, but only this code means that there is no such message.
        if (apiCode(error) === NO_MESSAGE) return null
        throw error
      }
    })
  }

  #stored({ key, revision, text }: RawEntry): StoredEntry<Decoded<T>> {
    return { key, revision, value: text === null ? null : this.decode(key, text, revision) }
  }

  #subjectOf(key: string): string {
    return `$KV.${this.name}.${key}`
  }

  /** Lists the keys. The stream's leader lists its subjects, so no acknowledged key is missing. */
  async #keys(): Promise<string[]> {
    const prefix = this.#subjectOf('')
    const info = await this.#ask((manager) => manager.streams.info(this.stream, { subjects_filter: `${prefix}>` }))
    return Object.keys(info.state.subjects ?? {}).map((subject) => subject.slice(prefix.length))
  }

  /** Sends a request up to three times, for REQUEST_TIMEOUT_MS in all, and returns the first reply. */
  async #ask<R>(question: (manager: JetStreamManager) => Promise<R>): Promise<R> {
    const connection = this.#source.connection()
    const repeats: NodeJS.Timeout[] = []
    try {
      const manager = await this.#managerOf(connection)
      const ask = (afterMs: number) =>
        new Promise<R>((resolve, reject) => {
          repeats.push(setTimeout(() => question(manager).then(resolve, reject), afterMs))
        })
      return await Promise.race([question(manager), ...AGAIN_AFTER_MS.map(ask)])
    } catch (error) {
      throw await this.#explain(error)
    } finally {
      for (const timer of repeats) clearTimeout(timer)
    }
  }

  async #managerOf(connection: NatsConnection): Promise<JetStreamManager> {
    if (this.#manager?.connection === connection) return this.#manager.manager
    // It only holds the connection and the options: nothing is asked of the server (checkAPI).
    const manager = await connection.jetstreamManager({ timeout: REQUEST_TIMEOUT_MS, checkAPI: false })
    this.#manager = { connection, manager }
    return manager
  }

  async #explain(error: unknown): Promise<Error> {
    if (apiCode(error) === NO_STREAM) return unavailable(`its bucket ${this.name} is missing`, error)
    return unavailable(`${describeNatsError(error)}; ${await this.#source.reach()}`, error)
  }
}

/** Whether a message is the marker of a removed key. */
export function isMarker(message: MsgHdrs | undefined): boolean {
  return (message?.get(OPERATION_HEADER) ?? '') !== ''
}

/** Sorts out what could not be parsed. */
export function contentOf<T>(decoded: Iterable<Decoded<T>>): BucketContent<T> {
  const content: BucketContent<T> = { entries: [], damaged: [] }
  for (const one of decoded) {
    if (one.entry === null) content.damaged.push({ key: one.key, reason: one.reason })
    else content.entries.push(one.entry)
  }
  return content
}

export function streamOf(bucket: string): string {
  return `KV_${bucket}`
}
