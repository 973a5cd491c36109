import { randomBytes } from 'node:crypto'
import type { Endpoint, TlsFiles } from './endpoint.ts'
import { portOf } from './endpoint.ts'
import { freePort } from './free-port.ts'
import type { ServerConfig } from './server-config.ts'
import { isOlder, OLDEST_FOR_REPLICAS, type Version } from './version.ts'

/**
 * Returns the endpoint of a server for this host alone, with a port, a password and a certificate of its own.
 * Every user of this machine can reach loopback, and can take the port while the server restarts. So the server needs
 * a password, and the client sends it only to who has the certificate's key. All are in `dir`, for root only.
 */
export async function loopbackEndpoint(dir: string, name: string, version: Version | null): Promise<Endpoint> {
  // Loaded late: hosts in a cluster have certificates of their own, and are spared the memory.
  const { writeLoopbackCertificate } = await import('./loopback-certificate.ts')
  const tls = await writeLoopbackCertificate(dir, name)
  const tlsFirst = version !== null && !isOlder(version, OLDEST_FOR_REPLICAS)
  const login = { user: 'wherry', password: randomBytes(24).toString('hex') }
  return { servers: [`127.0.0.1:${await freePort()}`], tls, tlsFirst, inbox: null, login }
}

/** Returns how the server of such an endpoint listens. */
export function listenOnLoopback({ servers, tlsFirst, login }: Endpoint, tls: TlsFiles): ServerConfig['listen'] {
  return { kind: 'loopback', port: portOf(servers[0] ?? ''), login, tls, tlsFirst }
}
