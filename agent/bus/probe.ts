import { readFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { describeCertificateError } from '../host/certificate-error.ts'
import { describeLateReply } from '../runtime/late-reply.ts'
import { type Endpoint, hostOf, identityCheck, portOf, type TlsFiles } from './endpoint.ts'

/** A server on the same network replies in milliseconds. A slower one does not help a lease of 8 s. */
const PROBE_TIMEOUT_MS = 2_000

/** Reasons that do not pass when the other host is up. */
const REFUSED = /certificate|it refuses this host/

/** The reply of one nats-server, or why there was none. */
export type Probe =
  | { readonly server: string; readonly ok: true; readonly version: string }
  /** `refused`: it is there, and certificates or login do not fit. */
  | { readonly server: string; readonly ok: false; readonly reason: string; readonly refused: boolean }

/** Probes every server of the endpoint in parallel, as the client would: TLS, certificate, login. Never rejects. */
export async function probeServers(endpoint: Endpoint): Promise<Probe[]> {
  return Promise.all(endpoint.servers.map((server) => probeServer(endpoint, server)))
}

/** Prints one line such as "1 of 3 nats-servers reachable: 10.0.0.2:4222: connection refused; ...". */
export function summarize(probes: readonly Probe[]): string {
  const failures = probes.flatMap((probe) => (probe.ok ? [] : [`${probe.server}: ${probe.reason}`]))
  const count = `${probes.length - failures.length} of ${probes.length} nats-servers reachable`
  return failures.length === 0 ? count : `${count}: ${failures.join('; ')}`
}

async function probeServer(endpoint: Endpoint, server: string): Promise<Probe> {
  const sockets: Socket[] = []
  try {
    const address = { host: hostOf(server), port: portOf(server) }
    const tls = endpoint.tls === null ? null : { ...address, ...(await tlsOptions(endpoint, endpoint.tls)) }
    let socket = tls !== null && endpoint.tlsFirst ? connectTls(tls) : connectTcp(address)
    sockets.push(socket)
    const info = JSON.parse((await nextLine(socket)).replace(/^INFO /, '')) as { version?: string }
    if (tls !== null && !endpoint.tlsFirst) {
      socket = connectTls({ ...tls, socket })
      sockets.push(socket)
    }
    socket.write(`CONNECT ${JSON.stringify({ verbose: false, pedantic: false, ...loginFields(endpoint) })}\r\nPING\r\n`)
    const reply = await nextLine(socket)
    if (reply.startsWith('-ERR')) {
      const isListed = endpoint.login !== null || !endpoint.tlsFirst
      const why = isListed ? '' : ' (is the address in its certificate in the WHERRY_PEERS of that server?)'
      throw new Error(`it refuses this host: ${reply.slice('-ERR '.length)}${why}`)
    }
    return { server, ok: true, version: info.version ?? 'unknown' }
  } catch (error) {
    const reason = reasonOf(error as NodeJS.ErrnoException)
    return { server, ok: false, reason, refused: REFUSED.test(reason) }
  } finally {
    for (const socket of sockets) socket.destroy()
  }
}

async function tlsOptions(endpoint: Endpoint, files: TlsFiles): Promise<ConnectionOptions> {
  const [ca, cert, key] = await Promise.all([readFile(files.ca), readFile(files.cert), readFile(files.key)])
  return { ca, cert, key, minVersion: 'TLSv1.3', checkServerIdentity: identityCheck(endpoint) }
}

/** Reads a line. With TLS 1.3 a server that refuses our certificate reports it only here, in place of the line. */
function nextLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const read = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n')
      if (end < 0) return
      socket.off('data', read)
      resolve(text.slice(0, end))
    }
    socket.setTimeout(PROBE_TIMEOUT_MS, () => reject(new Error(describeLateReply(socket, PROBE_TIMEOUT_MS))))
    socket.on('data', read)
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('it closed the connection')))
  })
}

function loginFields({ login }: Endpoint): Record<string, string> {
  if (login === null) return {}
  return 'token' in login ? { auth_token: login.token } : { user: login.user, pass: login.password }
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ENOENT') return `no certificate: ${error.path} is missing`
  if (code.startsWith('ERR_SSL') && code.includes('ALERT')) return `it refuses this host's certificate (${code})`
  if (code.startsWith('ERR_TLS') || code.includes('CERT') || code.includes('SIGNATURE')) {
    return `its certificate is not good: ${describeCertificateError(error)}`
  }
  return error.message === '' ? code : error.message
}
