import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import type { NatsConnectOptions } from './nats.ts'

/** Paths of this host's certificate, its key, and the CA that signed all hosts' certificates. */
export interface TlsFiles {
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** Where nats-servers listen, and the credentials for them. */
export interface Endpoint {
  /** `host:port`, the one to try first at the front. */
  readonly servers: readonly string[]
  /** Null: plaintext, on loopback only. */
  readonly tls: TlsFiles | null
  /** True: TLS begins before the server's first line, as with embedded servers. A user's own NATS usually differs. */
  readonly tlsFirst: boolean
  /** Prefix of the subjects for replies; null: the client's own choice. */
  readonly inbox: string | null
  readonly login: { readonly user: string; readonly password: string } | { readonly token: string } | null
}

/** Returns the host part of `host:port`, without the brackets of an IPv6 address. */
export function hostOf(server: string): string {
  return server.slice(0, server.lastIndexOf(':')).replace(/^\[|\]$/g, '')
}

export function portOf(server: string): number {
  return Number(server.slice(server.lastIndexOf(':') + 1))
}

/** Returns `address:port`, with brackets around an IPv6 address. */
export function joinHostPort(address: string, port: number): string {
  return isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`
}

/**
 * Returns TLS options for the client. The files are read at every connect, so new certificates need no restart.
 * If a server is given by its IP address and does not start with TLS, the client has no server name, and Node would
 * check for "localhost". So the certificate must name one of the endpoint's servers.
 */
export function clientTls(endpoint: Endpoint): NonNullable<NatsConnectOptions['tls']> | null {
  const { tls } = endpoint
  if (tls === null) return null
  const options = {
    caFile: tls.ca,
    certFile: tls.cert,
    keyFile: tls.key,
    handshakeFirst: endpoint.tlsFirst,
    minVersion: 'TLSv1.3',
    checkServerIdentity: identityCheck(endpoint),
  }
  return options
}

/** Accepts a certificate that names the dialled host or any other of the endpoint's servers. */
export function identityCheck(endpoint: Endpoint): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (dialled, certificate) => {
    const first = checkServerIdentity(dialled, certificate)
    if (first === undefined || endpoint.tlsFirst) return first
    const known = endpoint.servers.map(hostOf)
    return known.some((host) => checkServerIdentity(host, certificate) === undefined) ? undefined : first
  }
}
