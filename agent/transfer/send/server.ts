import type { TLSSocket } from 'node:tls'
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
import { TlsListener } from './tls-listener.ts'

/** Trees sent at once: each has some megabytes in flight. */
export const TREES_MAX = 64

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

/** Whom the peer's certificate names. For logs: the subject's name, or the address it connects from. */
function identityOf(socket: TLSSocket): PeerIdentity {
  const { subject, subjectaltname } = socket.getPeerCertificate()
  const name: string | string[] | undefined = subject?.CN
  return {
    name: (Array.isArray(name) ? name[0] : name) ?? socket.remoteAddress ?? 'unknown',
    altNames: subjectaltname ?? '',
  }
}

const NO_REPLIES: QueryHandler = async ({ kind }) => {
  throw new WherryError('REQUEST_INVALID', `This host takes no queries (${kind}).`)
}

function busy(): WherryError {
  const message = `The other host sends ${TREES_MAX} copies already, which is the most at once.`
  return new WherryError('TRANSFER_CUT', message, { hint: 'It is tried again by itself.' })
}

class Server implements TransferServer {
  port = 0
  readonly #options: TransferServerOptions
  readonly #memory: BufferPool
  readonly #bandwidth: RateLimit | undefined
  readonly #listener: TlsListener
  readonly #running = new Set<Promise<void>>()
  #trees = 0
  #closing: Promise<void> | undefined

  constructor(options: TransferServerOptions) {
    this.#options = options
    this.#memory = options.memory ?? new BufferPool()
    const limit = options.bandwidthBytesPerSecond ?? null
    this.#bandwidth = limit === null ? undefined : new RateLimit(limit)
    this.#listener = new TlsListener({ ...options, serve: (socket) => this.#serve(socket) })
  }

  async start(): Promise<void> {
    const { host, port } = this.#options
    this.port = await this.#listener.listen(host, port)
  }

  [Symbol.asyncDispose](): Promise<void> {
    // Kept, so that a second dispose waits for the end as well.
    this.#closing ??= this.#close()
    return this.#closing
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
    await this.#listener.close()
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
  const server = new Server(options)
  await server.start()
  return server
}
