import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { describeCertificateError } from '../../host/certificate-error.ts'
import type { Identity } from '../../host/certificates.ts'
import { WherryError } from '../../model/errors.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { describeLateReply } from '../../runtime/late-reply.ts'
import { SOURCE_FRAMES } from '../wire/frame.ts'
import { Channel, cut } from './channel.ts'

/** TCP and TLS together take three round trips; a host that needs longer than this counts as gone. */
const CONNECT_TIMEOUT_MS = 5_000

/** From a reset to the next try. */
const AGAIN_MS = 100

/** Size of the one buffer for all reads. A buffer per TLS record cost a fifth of the receiver's time. */
const READ_BUFFER_BYTES = 64 * 1024

/** Address of a host's transfer server. */
export interface Address {
  readonly address: string
  readonly port: number
}

/** The error for a connection that failed at the certificates. */
function refused(peer: string, identity: Identity, reason: string, cause?: Error): WherryError {
  const { ca, cert } = identity.paths
  const hint =
    `Check ${cert} and ${ca} here and the same files on ${peer}: both must be of one CA, valid by both hosts' ` +
    `clocks, and for the address their host advertises. scripts/certs makes them; the other agent's log has more.`
  return new WherryError('TLS_REFUSED', `No trusted connection to ${peer}: ${reason}.`, { hint, cause })
}

/** Explains a failed handshake: the local check failed, the peer does not speak TLS 1.3, or no one listens. */
function explainDial(peer: string, identity: Identity, socket: TLSSocket, cause: Error): WherryError {
  const code = (cause as NodeJS.ErrnoException).code ?? ''
  if (socket.authorizationError)
    return refused(peer, identity, `its certificate was refused here: ${describeCertificateError(cause)}`, cause)
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') return refused(peer, identity, cause.message, cause)
  const hint = 'Check that the agent runs there and that the address and the transfer port can be reached from here.'
  return new WherryError('TRANSFER_CUT', `Cannot connect to ${peer}: ${cause.message}.`, { hint, cause })
}

/**
 * Connects to a host's transfer server.
 * Tries again while that host resets connections before it has shown its certificate: it has no place just then.
 * Rejects TRANSFER_CUT (no connection within 5 s), TLS_REFUSED, or the signal's reason.
 * A later abort of the signal ends the channel with that reason.
 */
export async function dial(
  from: Address,
  identity: Identity,
  memory: BufferPool,
  signal: AbortSignal,
): Promise<Channel> {
  const endMs = performance.now() + CONNECT_TIMEOUT_MS
  for (;;) {
    const outcome = await connectOnce(from, identity, memory, signal, endMs - performance.now())
    if (outcome instanceof Channel) return endingWith(signal, outcome)
    if (performance.now() + AGAIN_MS >= endMs) throw outcome.error
    await sleep(AGAIN_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

/** Returns the channel, or the error of a connection that was reset before the handshake's end. */
async function connectOnce(
  from: Address,
  identity: Identity,
  memory: BufferPool,
  signal: AbortSignal,
  limitMs: number,
): Promise<Channel | { readonly error: WherryError }> {
  signal.throwIfAborted()
  const peer = `host ${from.address}:${from.port}`
  const { promise, resolve, reject } = Promise.withResolvers<Channel | { readonly error: WherryError }>()
  let channel: Channel | undefined
  const onread = {
    buffer: Buffer.allocUnsafeSlow(READ_BUFFER_BYTES),
    callback(bytes: number, buffer: Buffer): boolean {
      channel?.take(buffer.subarray(0, bytes))
      return true
    },
  }
  const options = { host: from.address, port: from.port, minVersion: 'TLSv1.3', rejectUnauthorized: true } as const
  const socket = connect({ ...identity.current(), ...options, ...{ onread } })
  const late = setTimeout(() => socket.destroy(new Error(describeLateReply(socket, CONNECT_TIMEOUT_MS))), limitMs)
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  socket.on('error', (cause: NodeJS.ErrnoException) => {
    const error = explainDial(peer, identity, socket, cause)
    if (cause.code === 'ECONNRESET') resolve({ error })
    else reject(error)
  })
  // The channel must listen at once: a refusal may follow directly after the handshake.
  socket.once('secureConnect', () => {
    channel = new Channel(socket, { peer, accepts: SOURCE_FRAMES, explain: explainEnd(peer, identity), memory })
    resolve(channel)
  })
  try {
    return await promise
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', abort)
  }
}

/**
 * Explains the end of an open connection.
 * With TLS 1.3 the client finishes its handshake before the server checks its certificate, so a refusal arrives
 * afterwards, as an alert or a plain close. A server that accepts sends its hello at once, so an end before that
 * counts as a refusal.
 */
function explainEnd(peer: string, identity: Identity): (cause: Error | undefined, heard: boolean) => WherryError {
  return (cause, heard) => {
    if (heard) return cut(peer, cause)
    const detail = cause === undefined ? '' : ` (${cause.message})`
    return refused(peer, identity, `it closed the connection after it saw this host's certificate${detail}`, cause)
  }
}

function endingWith(signal: AbortSignal, channel: Channel): Channel {
  const abort = () => channel.fail(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  channel.ended.addEventListener('abort', () => signal.removeEventListener('abort', abort), { once: true })
  if (signal.aborted) abort()
  return channel
}
