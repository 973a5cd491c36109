import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import type { Logger } from 'pino'
import type { Identity } from '../../host/certificates.ts'
import { WherryError } from '../../model/errors.ts'
import { FailedHandshakes } from './failed-handshakes.ts'
import { Handshakes } from './handshakes.ts'
import { HostCrowd } from './host-crowd.ts'
import { networkOf } from './network-of.ts'
import { RefusalLog } from './refusal-log.ts'

/**
 * Connections of hosts at once. Beyond that, the host that has most of them loses one; it tries again later.
 * Handshakes have places of their own. Most are queries, which cost little and may wait for minutes (an offered
 * checkpoint).
 */
export const CONNECTIONS_MAX = 512
/** A host sends its first bytes as soon as it is connected: one lost packet costs a second. */
const FIRST_BYTES_MS = 2_000
/** A handshake takes two round trips; a slower one holds a place that others could use. */
const HANDSHAKE_TIMEOUT_MS = 5_000
/** A handshake waits this long at a time while its network fails too many. */
const HELD_UP_MS = 25
/** The first two bytes of every TLS connection (RFC 8446, TLSPlaintext): a handshake record, version 3. */
const TLS_BEGINS = Buffer.from([0x16, 0x03])

const CERTIFICATES_HINT = "Check that host's certificates and this one's CA; scripts/certs makes them."
const CROWD_HINT = 'Hosts try again by themselves. Let only hosts of the cluster reach the transfer port.'

/** One connection. */
interface Client {
  readonly socket: Socket
  readonly network: string
  shakingSinceMs: number | null
  /** Hash of the certificate of the CA that it has shown; null: none yet. */
  host: string | null
}

export interface TlsListenerOptions {
  readonly identity: Identity
  readonly log: Logger
  /** Takes over a connection whose client has proved itself with a certificate of the cluster's CA. */
  readonly serve: (socket: TLSSocket) => void
}

/**
 * Accepts TLS 1.3 connections of clients with a certificate of the cluster's CA.
 * Strangers cost little and take no host's place: what does not speak TLS is closed before a handshake, and
 * handshakes have places and times of their own.
 */
export class TlsListener {
  readonly #options: TlsListenerOptions
  readonly #tcp: Server
  readonly #tls: TlsServer
  readonly #handshakes = new Handshakes<Client>()
  readonly #failed = new FailedHandshakes()
  readonly #refusals: RefusalLog
  /** By address and port, which TLS sockets have as well. */
  readonly #clients = new Map<string, Client>()
  readonly #crowd = new HostCrowd<Client>(CONNECTIONS_MAX)
  #stopWatching = () => {}

  constructor(options: TlsListenerOptions) {
    this.#options = options
    this.#refusals = new RefusalLog(options.log)
    this.#tcp = createServer((socket) => this.#accept(socket))
    this.#tls = createTlsServer({
      ...tlsOptions(options.identity),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    })
  }

  /** Returns the bound port. Rejects SETTING_INVALID when it cannot listen there. */
  async listen(host: string, port: number): Promise<number> {
    const { identity, log } = this.#options
    const bound = await listenOn(this.#tcp, host, port)
    this.#stopWatching = identity.onChange(() => this.#tls.setSecureContext(tlsOptions(identity)))
    this.#tcp.on('error', (err) => log.error({ err }, 'transfer server failed'))
    this.#tls.on('tlsClientError', (error, socket) => {
      this.#refuse(socket, handshakeFailure(error, socket), CERTIFICATES_HINT)
      socket.destroy()
    })
    this.#tls.on('secureConnection', (socket) => this.#prove(socket))
    return bound
  }

  /** Closes the port and every connection. */
  async close(): Promise<void> {
    this.#stopWatching()
    const closed = Promise.withResolvers<void>()
    this.#tcp.close(() => closed.resolve())
    for (const { socket } of this.#clients.values()) socket.destroy()
    await closed.promise
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    const network = networkOf(socket.remoteAddress ?? '')
    if (this.#crowd.next()?.network === network) {
      // Refused before the handshake: after it, the host would doubt its certificate.
      this.#refuseInCrowd(socket)
      return
    }
    const client: Client = {
      socket,
      network,
      shakingSinceMs: null,
      host: null,
    }
    const loser = this.#handshakes.enter(client, performance.now())
    if (loser !== undefined) {
      this.#refuse(loser.socket, 'too many handshakes at once', CROWD_HINT)
      loser.socket.resetAndDestroy()
    }
    if (loser === client) return
    const name = nameOf(socket)
    this.#clients.set(name, client)
    const late = setTimeout(() => socket.resetAndDestroy(), FIRST_BYTES_MS)
    socket.once('close', () => {
      clearTimeout(late)
      this.#clients.delete(name)
      this.#forget(client)
    })
    socket.once('data', (bytes: Buffer) => {
      clearTimeout(late)
      socket.pause()
      if (isTls(bytes)) return this.#shake(client, bytes, performance.now() + HANDSHAKE_TIMEOUT_MS)
      this.#refuse(socket, 'it does not speak TLS', CERTIFICATES_HINT)
      socket.destroy()
    })
  }

  /** Begins the handshake as soon as the client's network may. */
  #shake(client: Client, bytes: Buffer, endMs: number): void {
    const { socket, network } = client
    if (socket.destroyed) return
    if (this.#failed.mayBegin(network, performance.now())) {
      client.shakingSinceMs = performance.now()
      // The TLS server reads what was read here already.
      socket.unshift(bytes)
      this.#tls.emit('connection', socket)
    } else if (performance.now() > endMs) socket.resetAndDestroy()
    else setTimeout(() => this.#shake(client, bytes, endMs), HELD_UP_MS)
  }

  #prove(socket: TLSSocket): void {
    const client = this.#clients.get(nameOf(socket))
    if (client === undefined) {
      socket.destroy()
      return
    }
    this.#handshakes.leave(client)
    client.host = socket.getPeerX509Certificate()?.fingerprint256 ?? ''
    const loser = this.#crowd.enter(client.host, client)
    if (loser !== undefined) this.#refuseInCrowd(loser.socket)
    if (loser !== client) this.#options.serve(socket)
  }

  #forget(client: Client): void {
    this.#handshakes.leave(client)
    if (client.host !== null) this.#crowd.leave(client.host, client)
    else if (client.shakingSinceMs !== null) this.#failed.note(client.network, performance.now())
  }

  #refuseInCrowd(socket: Socket): void {
    this.#refuse(socket, `${CONNECTIONS_MAX} connections of hosts are open, which is the most at once`, CROWD_HINT)
    socket.resetAndDestroy()
  }

  #refuse(socket: Socket, reason: string, hint: string): void {
    this.#refusals.note({ address: socket.remoteAddress, reason, hint })
  }
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
    throw new WherryError('SETTING_INVALID', message, { hint: hintFor(port, cause), cause })
  }
  server.off('error', reject)
  return (server.address() as AddressInfo).port
}

function hintFor(port: number, cause: unknown): string {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'EADDRNOTAVAIL') return 'Set WHERRY_ADVERTISE to an address of this host.'
  if (code !== 'EADDRINUSE') return 'Check WHERRY_ADVERTISE and WHERRY_TRANSFER_PORT.'
  const others = 'or set WHERRY_TRANSFER_PORT to a free port on all hosts'
  return `End the process that has the port ("ss -ltnp sport = :${port}" names it), ${others}.`
}

function isTls(bytes: Buffer): boolean {
  const length = Math.min(bytes.length, TLS_BEGINS.length)
  return TLS_BEGINS.subarray(0, length).equals(bytes.subarray(0, length))
}

function nameOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`
}

/** Why a handshake failed, for the log. With TLS 1.3 the refused side learns little, so operators look here. */
function handshakeFailure(error: Error, socket: TLSSocket): string {
  const refused = socket.authorizationError as unknown as string | null | undefined
  return refused ? `its certificate was refused: ${refused}` : error.message
}
