import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import { clientTls, type Endpoint } from './endpoint.ts'
import { connect, type NatsConnection } from './nats.ts'
import { probeServers, summarize } from './probe.ts'

/** A dead server is noticed after two missed pongs, soon enough to renew a lease of 8 s through another server. */
const PING_INTERVAL_MS = 1_500
const MAX_PINGS_OUT = 2

/** Limit of one attempt at one server, TLS handshake included. */
const CONNECT_TIMEOUT_MS = 3_000

/** Wait between two attempts at one server: short because leases expire, not zero because handshakes cost CPU. */
const RETRY_WAIT_MS = 250

/** How long the result of probing all servers is reused: requests that fail together share it. */
const REACH_KEPT_MS = 2_000

/** Time for outgoing messages when the agent ends. */
const DRAIN_WAIT_MS = 3_000

export interface NatsLinkOptions {
  readonly endpoint: Endpoint
  /** This host's name, shown in the server's list of connections. */
  readonly name: string
  readonly log: Logger
}

/**
 * The connection to the registry's servers. It connects in the background, and again whenever the connection is lost.
 * No call waits for it: without a connection a call gets REGISTRY_UNAVAILABLE with the reason.
 */
export class NatsLink implements AsyncDisposable {
  readonly #options: NatsLinkOptions
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  readonly #listeners = new Set<(connection: NatsConnection) => void>()
  #connection: NatsConnection | null = null
  #up = false
  #detail = 'not connected yet'
  #reason = ''
  /** A server refused this host, or this host the server, at the last probe. */
  #refused = false
  #diagnosis: Promise<void> | null = null
  #reach: { at: number; report: Promise<string> } | null = null

  constructor(options: NatsLinkOptions) {
    this.#options = options
    this.#loop = this.#run()
  }

  /** Returns the live connection. REGISTRY_UNAVAILABLE: there is none; the message says why. */
  connection(): NatsConnection {
    if (this.#connection !== null && this.#up) return this.#connection
    throw unavailable(this.#detail)
  }

  state(): { readonly connected: boolean; readonly detail: string; readonly refused: boolean } {
    return { connected: this.#up, detail: this.#detail, refused: this.#refused }
  }

  /** Probes all servers and reports in one line which are reachable, and why the others are not. Never rejects. */
  reach(): Promise<string> {
    const now = performance.now()
    if (this.#reach === null || now - this.#reach.at > REACH_KEPT_MS) {
      const report = probeServers(this.#options.endpoint).then((probes) => {
        this.#refused = probes.some((probe) => !probe.ok && probe.refused)
        return summarize(probes)
      })
      this.#reach = { at: now, report }
    }
    return this.#reach.report
  }

  /** Calls `listener` now, if connected, and after each connect and reconnect, until `signal` aborts. */
  onConnect(listener: (connection: NatsConnection) => void, signal: AbortSignal): void {
    if (signal.aborted) return
    this.#listeners.add(listener)
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true })
    if (this.#connection !== null && this.#up) listener(this.#connection)
  }

  /** Sends outgoing messages and closes. Drain subscriptions before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    const connection = this.#connection
    if (connection !== null && !connection.isClosed()) {
      // While the servers are away a drain would wait forever for its reply.
      if (this.#up)
        await Promise.race([connection.drain().catch(() => {}), sleep(DRAIN_WAIT_MS, undefined, { ref: false })])
      await connection.close()
    }
    await this.#loop
    await this.#diagnosis
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      this.#lost('not connected yet')
      try {
        await this.#follow(await this.#connect())
      } catch (error) {
        if (!signal.aborted) this.#options.log.error({ err: error }, 'NATS client failed; restarting it')
      }
      await sleep(RETRY_WAIT_MS, undefined, { signal }).catch(() => {})
    }
  }

  /** Retries until it is connected. Rejects when the link is closed. */
  #connect(): Promise<NatsConnection> {
    const { endpoint, name } = this.#options
    return connect({
      servers: [...endpoint.servers],
      name,
      tls: clientTls(endpoint),
      ...loginOptions(endpoint),
      ...(endpoint.inbox === null ? {} : { inboxPrefix: endpoint.inbox }),
      noRandomize: true,
      // Servers may announce addresses of each other that only they can reach.
      ignoreClusterUpdates: true,
      ignoreAuthErrorAbort: true,
      // Otherwise the client drops the servers that were away when it first connected.
      waitOnFirstConnect: true,
      maxReconnectAttempts: -1,
      // Called before each attempt: throwing is the only way to stop a client that waits for its first
      // connection.
      reconnectDelayHandler: () => {
        this.#stop.signal.throwIfAborted()
        return RETRY_WAIT_MS
      },
      timeout: CONNECT_TIMEOUT_MS,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: MAX_PINGS_OUT,
      // Otherwise each request makes an error in advance, for its stack, in case it fails.
      noAsyncTraces: true,
    })
  }

  /** Returns when the connection is closed for good. */
  async #follow(connection: NatsConnection): Promise<void> {
    this.#connection = connection
    if (this.#stop.signal.aborted) return connection.close()
    this.#found(connection)
    // The client never ends this iteration. It is collected with the connection.
    void this.#watch(connection)
    await connection.closed()
    this.#up = false
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const event of connection.status()) {
      if (event.type === 'disconnect') this.#lost(`the connection to ${event.data} was lost`)
      if (event.type === 'reconnect') this.#found(connection)
    }
  }

  #found(connection: NatsConnection): void {
    const { log } = this.#options
    this.#up = true
    this.#reach = null
    this.#detail = `connected to ${connection.getServer()} (nats-server ${connection.info?.version ?? 'unknown'})`
    log.info({ server: connection.getServer() }, 'connected to the registry')
    for (const listener of [...this.#listeners]) {
      try {
        listener(connection)
      } catch (error) {
        log.error({ err: error }, 'connect listener failed')
      }
    }
  }

  #lost(reason: string): void {
    if (this.#stop.signal.aborted) return
    if (this.#up) this.#options.log.info({ reason }, 'connection to the registry lost')
    this.#up = false
    this.#reach = null
    this.#reason = reason
    this.#diagnosis ??= this.#diagnose().finally(() => {
      this.#diagnosis = null
    })
  }

  /** Keeps `#detail` up to date while the connection is down: the client reports nothing between attempts. */
  async #diagnose(): Promise<void> {
    const { signal } = this.#stop
    while (!this.#up && !signal.aborted) {
      const reach = await this.reach()
      if (this.#up) break
      this.#detail = `${reach} (${explain(this.#reason)})`
      await sleep(REACH_KEPT_MS, undefined, { signal }).catch(() => {})
    }
  }
}

export function unavailable(detail: string, cause?: unknown): WherryError {
  return new WherryError('REGISTRY_UNAVAILABLE', `The registry did not answer: ${detail}.`, {
    hint: 'Wherry keeps trying; check that the hosts that run nats-server are up and reach each other.',
    ...(cause === undefined ? {} : { cause }),
  })
}

/** Adds a hint: if the server refuses the certificate, the client only sees a time-out. */
function explain(reason: string): string {
  return /timeout/i.test(reason) ? `${reason}; a wrong client certificate shows only as a time-out` : reason
}

function loginOptions(endpoint: Endpoint): { user?: string; pass?: string; token?: string } {
  const { login } = endpoint
  if (login === null) return {}
  return 'token' in login ? { token: login.token } : { user: login.user, pass: login.password }
}
