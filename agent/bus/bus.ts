import type { Logger } from 'pino'
import { NatsLink, type NatsLinkOptions } from './connection.ts'
import type { Bus } from './contract.ts'
import type { MsgHdrs, NatsConnection } from './nats.ts'

/** Prefix of all subjects. Its number changes when older agents would misunderstand the messages. */
export const SUBJECT_PREFIX = 'wherry.v1.'

/** Messages between agents over NATS. It also gives `registry` the connection. */
export class NatsBus implements Bus, AsyncDisposable {
  readonly #link: NatsLink
  readonly #log: Logger
  readonly #loops = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor(options: NatsLinkOptions) {
    this.#link = new NatsLink(options)
    this.#log = options.log
  }

  publish(subject: string, message: unknown): void {
    const { connected } = this.#link.state()
    // The client would keep the message and drop it on reconnect.
    if (!connected) return
    try {
      this.#link.connection().publish(SUBJECT_PREFIX + subject, JSON.stringify(message))
    } catch (error) {
      // Too large, or the connection has just ended. Whatever is published may be lost, and costs a delay then.
      this.#log.warn({ err: error, subject }, 'message dropped: it could not be sent')
    }
  }

  subscribe(subject: string, handler: (message: unknown, subject: string) => void, signal: AbortSignal): void {
    const handle = (data: string, from: string) => {
      let message: unknown
      try {
        message = JSON.parse(data)
      } catch {
        this.#log.warn({ subject: from }, 'message dropped: not JSON')
        return
      }
      handler(message, from)
    }
    this.listen(subject, handle, signal)
  }

  state(): ReturnType<NatsLink['state']> {
    return this.#link.state()
  }

  /** Returns the live connection, for `registry` only. REGISTRY_UNAVAILABLE: there is none; the message says why. */
  connection(): NatsConnection {
    return this.#link.connection()
  }

  /** Reports in one line which servers are reachable and why the others are not. Never rejects. */
  reach(): Promise<string> {
    return this.#link.reach()
  }

  /** Calls `listener` now, if connected, and after each connect and reconnect, until `signal` aborts. */
  onConnect(listener: (connection: NatsConnection) => void, signal: AbortSignal): void {
    this.#link.onConnect(listener, signal)
  }

  /** Like `subscribe`, with the payload as text, and the headers if there are any. */
  listen(
    subject: string,
    handler: (data: string, subject: string, headers: MsgHdrs | undefined) => void,
    signal: AbortSignal,
  ): void {
    const ended = AbortSignal.any([signal, this.#stop.signal])
    let current: NatsConnection | null = null
    this.#link.onConnect((connection) => {
      // The client renews its subscriptions on reconnect. A new connection needs a new one.
      if (connection === current) return
      current = connection
      const loop = this.#consume(connection, SUBJECT_PREFIX + subject, handler, ended)
      this.#loops.add(loop)
      void loop.finally(() => this.#loops.delete(loop))
    }, ended)
  }

  /** Ends all subscriptions, waits until every received message is handled, then closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#loops)
    await this.#link[Symbol.asyncDispose]()
  }

  async #consume(
    connection: NatsConnection,
    subject: string,
    handler: (data: string, subject: string, headers: MsgHdrs | undefined) => void,
    ended: AbortSignal,
  ): Promise<void> {
    const subscription = connection.subscribe(subject)
    const end = () => {
      // A drain waits for the server's reply. Without a connection no more messages can come.
      if (this.#link.state().connected) subscription.drain().catch(() => {})
      else subscription.unsubscribe()
    }
    ended.addEventListener('abort', end, { once: true })
    for await (const message of subscription) {
      try {
        handler(message.string(), message.subject.slice(SUBJECT_PREFIX.length), message.headers)
      } catch (error) {
        this.#log.error({ err: error, subject: message.subject }, 'message handler failed')
      }
    }
    ended.removeEventListener('abort', end)
  }
}
