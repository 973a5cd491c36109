import type { AddressInfo, Socket } from 'node:net'
import { createServer, type Server, type TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import type { Identity } from '../../host/certificates.ts'
import { WherryError } from '../../model/errors.ts'
import { BufferPool } from '../../runtime/buffer-pool.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { Channel, cut } from '../connection/channel.ts'
import { RateLimit } from '../connection/rate-limit.ts'
import type { PeerIdentity, QueryHandler, TreeSource } from '../contract.ts'
import { REQUESTER_FRAMES } from '../wire/frame.ts'
import type { ProtocolRange } from '../wire/protocol.ts'
import { serveChannel } from './serve-connection.ts'

/**
 * Connections at once, handshakes included; more are closed at once and try again later.
 * Most are queries, which cost little and may wait for minutes (an offered checkpoint).
 */
export const CONNECTIONS_MAX = 512
/** Trees sent at once: each has some megabytes in flight. */
export const TREES_MAX = 64
/** A handshake takes two round trips; a slower one holds a place that others could use. */
const HANDSHAKE_TIMEOUT_MS = 5_000

export interface TransferServer extends AsyncDisposable {
  /** The bound port, also when 0 was asked for. */
  readonly port: number
}

export interface TransferServerOptions {
  readonly host: string
  /** 0 picks a free one. */
  readonly port: number
  readonly identity: Identity
  readonly source: TreeSource
  /** Undefined: queries are refused. */
  readonly answer?: QueryHandler
  readonly log: Logger
  /** Memory shared with the code that makes and uses the data. */
  readonly memory?: BufferPool
  /** Limit for the trees sent over all connections together; null or undefined: none. */
  readonly bandwidthBytesPerSecond?: number | null
  /** For tests that stop there: called when a request was decided on, and after each frame of a response. */
  readonly faultPoint?: FaultPoint
  /** For tests with two versions. */
  readonly spoken?: ProtocolRange
}

function tlsOptions(identity: Identity) {
  return { ...identity.current(), minVersion: 'TLSv1.3' as const }
}

async function listenOn(server: Server, host: string, port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host, port }, resolve)
  try {
    await promise
  } catch (cause) {
    const message = `The transfer server cannot listen on ${host}:${port}: ${(cause as Error).message}.`
    throw new WherryError('SETTING_INVALID', message, { hint: 'Choose another port or address.', cause })
  }
  server.off('error', reject)
  return (server.address() as AddressInfo).port
}

/** Whom the peer's certificate names. For logs: the subject's name, or the address it connects from. */
function identityOf(socket: TLSSocket): PeerIdentity {
  const { subject, subjectaltname } = socket.getPeerCertificate()
  const name: string | string[] | undefined = subject?.CN
  return {
    name: (Array.isArray(name) ? name[0] : name) ?? socket.remoteAddress ?? 'unknown',
    altNames: subjectaltname ?? '',
  }
}

/** Why a handshake failed, for the log. With TLS 1.3 the refused side learns little, so operators look here. */
function handshakeFailure(error: Error, socket: TLSSocket): { reason: string; hint: string } {
  const refused = socket.authorizationError as unknown as string | null | undefined
  const reason = refused ? `its certificate was refused: ${refused}` : error.message
  return { reason, hint: "Check that host's certificates and this one's CA; scripts/certs makes them." }
}

const NO_REPLIES: QueryHandler = async ({ kind }) => {
  throw new WherryError('REQUEST_INVALID', `This host takes no queries (${kind}).`)
}

function busy(): WherryError {
  const message = `The other host sends ${TREES_MAX} copies already, which is the most at once.`
  return new WherryError('TRANSFER_CUT', message, { hint: 'It is tried again by itself.' })
}

class Listener implements TransferServer {
  port = 0
  readonly #options: TransferServerOptions
  readonly #memory: BufferPool
  readonly #bandwidth: RateLimit | undefined
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #running = new Set<Promise<void>>()
  #trees = 0
  readonly #stack = new AsyncDisposableStack()
  #closing: Promise<void> | undefined

  constructor(options: TransferServerOptions) {
    this.#options = options
    this.#memory = options.memory ?? new BufferPool()
    const limit = options.bandwidthBytesPerSecond ?? null
    this.#bandwidth = limit === null ? undefined : new RateLimit(limit)
    this.#server = createServer({
      ...tlsOptions(options.identity),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    })
    this.#server.maxConnections = CONNECTIONS_MAX
  }

  async start(): Promise<void> {
    const { host, port, identity, log } = this.#options
    this.port = await listenOn(this.#server, host, port)
    this.#stack.defer(() => this.#close())
    this.#stack.defer(identity.onChange(() => this.#server.setSecureContext(tlsOptions(identity))))
    this.#server.on('error', (err) => log.error({ err }, 'the transfer server failed'))
    this.#server.on('connection', (socket: Socket) => this.#track(socket))
    this.#server.on('drop', (data) =>
      log.warn({ data, CONNECTIONS_MAX }, 'too many transfer connections: one was closed'),
    )
    this.#server.on('tlsClientError', (error, socket) => {
      const { reason, hint } = handshakeFailure(error, socket)
      log.warn({ address: socket.remoteAddress, reason, hint }, 'a host could not connect to the transfer server')
      socket.destroy()
    })
    this.#server.on('secureConnection', (socket) => this.#serve(socket))
  }

  [Symbol.asyncDispose](): Promise<void> {
    // Kept, so that a second dispose waits for the end as well.
    this.#closing ??= this.#stack.disposeAsync()
    return this.#closing
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  #serve(socket: TLSSocket): void {
    const identity = identityOf(socket)
    const peer = `host ${identity.name} (${socket.remoteAddress}:${socket.remotePort})`
    const explain = (cause: Error | undefined) => cut(peer, cause)
    const channel = new Channel(socket, {
      peer,
      accepts: REQUESTER_FRAMES,
      explain,
      bandwidth: this.#bandwidth,
      memory: this.#memory,
    })
    const { answer = NO_REPLIES, log, faultPoint, spoken } = this.#options
    const run = serveChannel(channel, { source: this.#source, answer, log, faultPoint, spoken }, identity)
    this.#running.add(run)
    void run.finally(() => this.#running.delete(run))
  }

  /** Opens a tree. The signal aborts when the connection ends, for whatever reason. */
  readonly #source: TreeSource = async (request, peer, signal) => {
    signal.throwIfAborted()
    if (this.#trees >= TREES_MAX) throw busy()
    this.#trees += 1
    signal.addEventListener('abort', () => (this.#trees -= 1), { once: true })
    return this.#options.source(request, peer, signal)
  }

  async #close(): Promise<void> {
    const closed = Promise.withResolvers<void>()
    this.#server.close(() => closed.resolve())
    for (const socket of this.#sockets) socket.destroy()
    await closed.promise
    await Promise.allSettled(this.#running)
  }
}

/**
 * Serves trees and replies to other hosts until disposed.
 * TLS 1.3; both sides prove themselves with a certificate of the cluster's CA.
 * New certificates count from the next connection on.
 * Disposing cuts running copies; the asking hosts resume them later.
 * Rejects SETTING_INVALID when it cannot listen on the address.
 */
export async function serveTransfer(options: TransferServerOptions): Promise<TransferServer> {
  const listener = new Listener(options)
  await listener.start()
  return listener
}
