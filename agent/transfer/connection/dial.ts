import { connect, type TLSSocket } from 'node:tls'
import type { Identity } from '../../host/certificates.ts'
import { WherryError } from '../../model/errors.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { SOURCE_FRAMES } from '../wire/frame.ts'
import { Channel, cut } from './channel.ts'

/** TCP and TLS together are three round trips; a host that needs longer is as good as gone. */
const CONNECT_TIMEOUT_MS = 5_000

/** Takes in what the kernel has without a buffer for each TLS record: a fifth of the receiving side's time. */
const READ_BUFFER_BYTES = 64 * 1024

/** Where a host's transfer server listens. */
export interface Address {
  readonly address: string
  readonly port: number
}

/** The error for a connection whose other side did not get past the certificates. */
function refused(peer: string, identity: Identity, reason: string, cause?: Error): WherryError {
  const { ca, cert } = identity.paths
  const hint =
    `Check ${cert} and ${ca} here and the same files on ${peer}: both must be of one CA, valid by both hosts' ` +
    `clocks, and for the address their host advertises. scripts/certs makes them; the other agent's log has more.`
  return new WherryError('TLS_REFUSED', `No trusted connection to ${peer}: ${reason}.`, { hint, cause })
}

/** Before the handshake is over: our own check failed, or the other side speaks no TLS 1.3, or nobody is there. */
function explainDial(peer: string, identity: Identity, socket: TLSSocket, cause: Error): WherryError {
  const code = (cause as NodeJS.ErrnoException).code ?? ''
  if (socket.authorizationError)
    return refused(peer, identity, `its certificate was refused here: ${cause.message}`, cause)
  if (code.startsWith('ERR_SSL') || code === 'EPROTO') return refused(peer, identity, cause.message, cause)
  const hint = 'Check that the agent runs there and that the address and the transfer port can be reached from here.'
  return new WherryError('TRANSFER_CUT', `Cannot connect to ${peer}: ${cause.message}.`, { hint, cause })
}

/**
 * Connects to a host's transfer server. Rejects TRANSFER_CUT (nobody there within 5 s), TLS_REFUSED, or the signal's
 * reason, with which the channel also ends when the signal aborts later.
 */
export async function dial(
  from: Address,
  identity: Identity,
  memory: BufferPool,
  signal: AbortSignal,
): Promise<Channel> {
  signal.throwIfAborted()
  const peer = `host ${from.address}:${from.port}`
  const { promise, resolve, reject } = Promise.withResolvers<Channel>()
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
  const late = setTimeout(
    () => socket.destroy(new Error(`no answer within ${CONNECT_TIMEOUT_MS} ms`)),
    CONNECT_TIMEOUT_MS,
  )
  const abort = () => reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  socket.on('error', (error) => reject(explainDial(peer, identity, socket, error)))
  // The channel listens from this very moment: a refusal may follow on the handshake's heels.
  socket.once('secureConnect', () => {
    channel = new Channel(socket, { peer, accepts: SOURCE_FRAMES, explain: explainEnd(peer, identity), memory })
    resolve(channel)
  })
  try {
    return endingWith(signal, await promise)
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', abort)
  }
}

/**
 * With TLS 1.3 the client has finished its handshake before the server looks at its certificate: a refusal is an alert or
 * a plain close afterwards. A server that took us says hello at once, so an end before that is taken for a refusal.
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
