import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { NatsBus } from '../bus/bus.ts'
import { unavailable } from '../bus/connection.ts'
import { codeOf, WherryError } from '../model/errors.ts'
import { describeNatsError } from './api-code.ts'
import { KnownBuckets } from './known-buckets.ts'
import { RegistryLost, setUpBuckets, type WitnessSearch } from './setup.ts'
import type { StreamState } from './stream.ts'

/** Wait before the next attempt to set up. A forming cluster elects its leader within a few seconds. */
const RETRY_MS = 500

/** How often the layout is checked: servers may have been added, and the replicas follow. */
const LOOK_AGAIN_MS = 60_000

export interface ReadinessOptions {
  readonly bus: NatsBus
  /** Replicas of each bucket; null: by the size of the user's own NATS. */
  readonly replicas: number | null
  /** File with the streams that this host has seen (`EmbeddedNats.seenPath`). Without it they are kept in memory. */
  readonly seenPath?: string
  /** Whether this host creates the streams, and adapts their configuration. */
  readonly manages: boolean
  /** Asks the other hosts before a bucket is created. Without it nobody is asked. */
  readonly findWitness?: WitnessSearch
  readonly log: Logger
}

/** Whether the registry's streams are there, and are those that this host knows. */
export class Readiness {
  readonly #options: ReadinessOptions
  readonly #seen: KnownBuckets
  /** When each stream was made, as it was set up last. */
  #madeAt: ReadonlyMap<string, string> = new Map()
  #isReady = false
  #failure: Error = unavailable('its buckets were not checked yet')
  #checkSoon = new AbortController()

  constructor(options: ReadinessOptions) {
    this.#options = options
    this.#seen = new KnownBuckets(options.seenPath ?? null)
  }

  get isReady(): boolean {
    return this.#isReady
  }

  /** Why it is not ready, or was not. */
  get failure(): Error {
    return this.#failure
  }

  /** The registry that this host knows is gone: nobody can end a lease in it. */
  get isLost(): boolean {
    return !this.#isReady && this.#failure instanceof RegistryLost
  }

  /** Whether this host has seen the registry's streams. Then no other host may create them. */
  async hasSeen(): Promise<boolean> {
    return await this.#seen.hasAny()
  }

  /** REGISTRY_UNAVAILABLE: there is no connection, or the registry is not ready. */
  require(): void {
    this.#options.bus.connection()
    if (!this.#isReady) throw this.#failure
  }

  /** Throws REGISTRY_UNAVAILABLE if a stream is not the one that was set up. Then everything is checked again. */
  judge(stream: string, { created }: StreamState): void {
    const madeAt = this.#madeAt.get(stream)
    if (this.#isReady && madeAt === created) return
    if (this.#isReady) {
      this.#isReady = false
      this.#failure = unavailable(`its stream ${stream} is not the one that this host knows`)
      this.#checkSoon.abort()
    }
    throw this.#failure
  }

  /**
   * Sets the registry up, and checks its layout from time to time, until `signal` aborts.
   * `prepare` is called before it is ready, `checked` after each success.
   */
  async run(prepare: () => Promise<void>, checked: (isNew: boolean) => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const woken = new AbortController()
      this.#checkSoon = woken
      const waitMs = (await this.#setUp(prepare, checked)) ? LOOK_AGAIN_MS : RETRY_MS
      // A new connection ends the wait: it may be the first one, or its server may have another version.
      let known = this.#options.bus.state().connected
      const wake = () => {
        if (!known) woken.abort()
        known = false
      }
      const ended = AbortSignal.any([signal, woken.signal])
      this.#options.bus.onConnect(wake, ended)
      await sleep(waitMs, undefined, { signal: ended }).catch(() => {})
      woken.abort()
    }
  }

  /** True: it is ready; false: `failure` says why not. */
  async #setUp(prepare: () => Promise<void>, checked: (isNew: boolean) => void): Promise<boolean> {
    const { bus, replicas, manages, findWitness = async () => null, log } = this.#options
    try {
      const madeAt = await setUpBuckets(bus.connection(), replicas, this.#seen, { findWitness, manages })
      await prepare()
      const isNew = !this.#isReady
      this.#madeAt = madeAt
      this.#isReady = true
      if (isNew) log.info('registry ready')
      checked(isNew)
      return true
    } catch (error) {
      await this.#failed(error)
      return false
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { bus, log } = this.#options
    const failure =
      error instanceof WherryError ? error : unavailable(`${describeNatsError(error)}; ${await bus.reach()}`, error)
    // Without a leader or a connection, calls are still tried: they fail by themselves, or they do not.
    const final = codeOf(error) === 'NATS_TOO_OLD' || (codeOf(error) !== undefined && bus.state().connected)
    if (final) this.#isReady = false
    if (failure.message !== this.#failure.message) log.warn({ err: failure }, 'registry not ready')
    this.#failure = failure
  }
}
