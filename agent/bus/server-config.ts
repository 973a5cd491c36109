import { type Endpoint, joinHostPort, type TlsFiles } from './endpoint.ts'
import { type BucketNames, hostRights, natsUser } from './host-rights.ts'
import { isOlder, OLDEST_WITH_SYNC_INTERVAL, type Version } from './version.ts'

/** Servers of one cluster must agree on it, so nats-servers of another product never join by accident. */
const CLUSTER_NAME = 'wherry'

/** The name of a standalone server. */
export const SINGLE_NAME = 'wherry-single'

/** On a busy machine a TLS handshake takes longer than nats-server's default of 2 s. */
const TLS_TIMEOUT_SECONDS = 10

/** nats-server 2.9 does not know it. The client insists on it in any case. */
const OLDEST_TLS = 'min_version: "1.3"'

/**
 * Servers ping each other this often, and reconnect after this many pings without a pong, which is after 8 s.
 * With nats-server's default of 90 s, TCP decides after a network cut: it retries late, about as long after the cut as
 * the cut lasted, and each connection at another time.
 */
const ROUTE_PING_SECONDS = 2
const ROUTE_PINGS_UNANSWERED = 3

/** The configuration of one nats-server: standalone on loopback, or part of the cluster. */
export interface ServerConfig {
  readonly version: Version
  readonly storeDir: string
  readonly monitorPort: number
  readonly listen:
    | {
        readonly kind: 'loopback'
        readonly port: number
        readonly login: Endpoint['login']
        /** Made for this server: a process that takes its port while it restarts has not the key. */
        readonly tls: TlsFiles
        /** Whether TLS begins before the server's first line. */
        readonly tlsFirst: boolean
      }
    | {
        readonly kind: 'cluster'
        readonly address: string
        readonly clientPort: number
        readonly clusterPort: number
        /** Addresses of the other hosts that run servers. */
        readonly others: readonly string[]
        /** Addresses of all hosts that may connect as clients, and which of them run servers. */
        readonly hosts: readonly { readonly address: string; readonly runsServer: boolean }[]
        readonly buckets: BucketNames
        /** Whether only certificates of `others` may join as servers. They must name the address as a DNS name. */
        readonly checksRoutes: boolean
        readonly tls: TlsFiles
      }
}

/**
 * Renders nats-server's configuration file.
 * A server's name comes from its address. So a host whose disk was wiped rejoins under its old name, and leaves no dead
 * member that counts for the quorum.
 */
export function renderServerConfig(config: ServerConfig): string {
  const { listen } = config
  return [
    `server_name: ${quote(listen.kind === 'cluster' ? serverName(listen.address) : SINGLE_NAME)}`,
    `http: "127.0.0.1:${config.monitorPort}"`,
    'logtime: false',
    'jetstream {',
    `  store_dir: ${quote(config.storeDir)}`,
    // Without it acknowledged writes stay unsynced for a minute or two.
    ...(isOlder(config.version, OLDEST_WITH_SYNC_INTERVAL) ? [] : ['  sync_interval: always']),
    '}',
    ...(listen.kind === 'cluster' ? clusterLines(listen) : loopbackLines(listen)),
    '',
  ].join('\n')
}

export function serverName(address: string): string {
  return `wherry-${address}`
}

function loopbackLines(listen: ServerConfig['listen'] & { kind: 'loopback' }): string[] {
  const modern = listen.tlsFirst ? [OLDEST_TLS, 'handshake_first: true'] : []
  const lines = [`listen: "127.0.0.1:${listen.port}"`, ...tlsLines(listen.tls, ['verify: true', ...modern])]
  if (listen.login !== null && 'user' in listen.login) {
    lines.push(`authorization { user: ${quote(listen.login.user)}, password: ${quote(listen.login.password)} }`)
  }
  return lines
}

function clusterLines(listen: ServerConfig['listen'] & { kind: 'cluster' }): string[] {
  const verify = listen.checksRoutes ? 'verify_cert_and_check_known_urls: true' : 'verify: true'
  const routes = listen.others.map((other) => quote(`tls://${joinHostPort(other, listen.clusterPort)}`))
  return [
    `listen: ${quote(joinHostPort(listen.address, listen.clientPort))}`,
    ...tlsLines(listen.tls, [OLDEST_TLS, 'verify_and_map: true', 'handshake_first: true']),
    ...hostLines(listen),
    'cluster {',
    `  name: ${CLUSTER_NAME}`,
    `  listen: ${quote(joinHostPort(listen.address, listen.clusterPort))}`,
    `  routes: [${routes.join(', ')}]`,
    ...tlsLines(listen.tls, [OLDEST_TLS, verify]).map((line) => `  ${line}`),
    `  ping_interval: "${ROUTE_PING_SECONDS}s"`,
    `  ping_max: ${ROUTE_PINGS_UNANSWERED}`,
    '}',
  ]
}

/** One user for each host, found by its certificate. Hosts that are not listed get nothing. */
function hostLines({ hosts, buckets }: ServerConfig['listen'] & { kind: 'cluster' }): string[] {
  const users = hosts.map(({ address, runsServer }) => {
    const { publish, subscribe } = hostRights(address, runsServer, buckets)
    return `    ${JSON.stringify({ user: natsUser(address), permissions: { publish, subscribe } })}`
  })
  return ['authorization {', '  users: [', ...users, '  ]', '}']
}

function tlsLines(tls: TlsFiles, more: readonly string[]): string[] {
  return [
    'tls {',
    `  ca_file: ${quote(tls.ca)}`,
    `  cert_file: ${quote(tls.cert)}`,
    `  key_file: ${quote(tls.key)}`,
    `  timeout: ${TLS_TIMEOUT_SECONDS}`,
    ...more.map((line) => `  ${line}`),
    '}',
  ]
}

/** Quotes a text: nats-server's parser reads JSON strings the same way. */
function quote(text: string): string {
  return JSON.stringify(text)
}
