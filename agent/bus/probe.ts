import { readFile } from 'node:fs/promises'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Endpoint, hostOf, identityCheck, portOf } from './endpoint.ts'

/** A server on the same network answers in milliseconds; one that needs longer is no help to a lease of eight seconds. */
const PROBE_TIMEOUT_MS = 2_000

/** What one nats-server said, or why it said nothing. */
export type Probe =
  | { readonly server: string; readonly ok: true; readonly version: string }
  | { readonly server: string; readonly ok: false; readonly reason: string }

/** Asks every server of the endpoint, side by side, for its first line. Never rejects. */
export async function probeServers(endpoint: Endpoint): Promise<Probe[]> {
  return Promise.all(endpoint.servers.map((server) => probeServer(endpoint, server)))
}

/** One line such as "1 of 3 nats-servers reachable: 10.0.0.2:4222: connection refused; ...". */
export function summarize(probes: readonly Probe[]): string {
  const failures = probes.flatMap((probe) => (probe.ok ? [] : [`${probe.server}: ${probe.reason}`]))
  const count = `${probes.length - failures.length} of ${probes.length} nats-servers reachable`
  return failures.length === 0 ? count : `${count}: ${failures.join('; ')}`
}

async function probeServer(endpoint: Endpoint, server: string): Promise<Probe> {
  let socket: Socket | null = null
  try {
    socket = await open(endpoint, server)
    const line = await firstLine(socket)
    const info = JSON.parse(line.replace(/^INFO /, '')) as { version?: string }
    return { server, ok: true, version: info.version ?? 'unknown' }
  } catch (error) {
    return { server, ok: false, reason: reasonOf(error as NodeJS.ErrnoException) }
  } finally {
    socket?.destroy()
  }
}

async function open(endpoint: Endpoint, server: string): Promise<Socket> {
  const address = { host: hostOf(server), port: portOf(server) }
  if (endpoint.tls === null || !endpoint.tlsFirst) return connectTcp(address)
  const { tls } = endpoint
  const [ca, cert, key] = await Promise.all([readFile(tls.ca), readFile(tls.cert), readFile(tls.key)])
  return connectTls({ ...address, ca, cert, key, minVersion: 'TLSv1.3', checkServerIdentity: identityCheck(endpoint) })
}

/** With TLS 1.3 a server that refuses our certificate says so only now, in place of its first line. */
function firstLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setTimeout(PROBE_TIMEOUT_MS, () => {
      reject(new Error(`no answer within ${PROBE_TIMEOUT_MS / 1000} s`))
    })
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n')
      if (end >= 0) resolve(text.slice(0, end))
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('it closed the connection')))
  })
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'ENOENT') return `no certificate: ${error.path} is missing`
  if (code.startsWith('ERR_SSL') && code.includes('ALERT')) return `it refuses this host's certificate (${code})`
  if (code.startsWith('ERR_TLS') || code.includes('CERT') || code.includes('SIGNATURE')) {
    return `its certificate is not good (${code}: ${error.message})`
  }
  return error.message === '' ? code : error.message
}
