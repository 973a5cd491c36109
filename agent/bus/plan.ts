import { isIP } from 'node:net'
import { WherryError } from '../model/errors.ts'
import { type Endpoint, hostOf, joinHostPort, type TlsFiles } from './endpoint.ts'
import { inboxOf } from './host-rights.ts'

/** More servers would only make writes slower: five already survive the loss of two. */
const MAX_SERVERS = 5

/** Three replicas survive the loss of one host and cost least. JetStream allows up to five. */
const MAX_REPLICAS = 3

export interface NatsSettings {
  /** This host's address, as in the list of peers and in its certificate. */
  readonly advertise: string
  /** Addresses of all hosts, the same list on each; empty: a single host. */
  readonly peers: readonly string[]
  /** URLs of the operator's own NATS; empty: embedded servers. */
  readonly urls: readonly string[]
  readonly clientPort: number
  readonly clusterPort: number
}

/** Which hosts run a nats-server, and how this host reaches the registry. */
export interface NatsPlan {
  readonly mode: 'single' | 'cluster' | 'own'
  /** Addresses of the hosts that run embedded servers; empty with an operator's own NATS. */
  readonly servers: readonly string[]
  readonly runsServer: boolean
  /** Replicas of each registry bucket; null: as many as the user's own NATS has servers, up to three. */
  readonly replicas: number | null
  /** What the operator should know about this layout, for log and health. */
  readonly warning: string | null
}

/** Plans the layout from the settings alone, so that hosts with the same list plan the same layout. */
export function planNats(settings: NatsSettings): NatsPlan {
  if (settings.urls.length > 0) {
    return { mode: 'own', servers: [], runsServer: false, replicas: null, warning: null }
  }
  const peers = [...new Set(settings.peers)]
  if (peers.length === 0 || (peers.length === 1 && peers[0] === settings.advertise)) {
    return { mode: 'single', servers: [], runsServer: true, replicas: 1, warning: null }
  }
  const servers = peers.slice(0, MAX_SERVERS)
  return {
    mode: 'cluster',
    servers,
    runsServer: servers.includes(settings.advertise),
    replicas: Math.min(MAX_REPLICAS, servers.length),
    warning: warningFor(settings.advertise, peers, servers),
  }
}

/**
 * Returns how many of the registry's servers must report no leader before it is certain that no bucket has one.
 * The other servers together must be too few for a majority of any bucket's replicas, wherever these are.
 * With three replicas that is two of three, three of four and four of five servers. A majority of the servers is not
 * enough if only some of them have a replica. Infinity: it cannot be known (a NATS of the user's own).
 */
export function leaderlessQuorum({ servers, replicas }: Pick<NatsPlan, 'servers' | 'replicas'>): number {
  if (replicas === null || servers.length === 0) return Number.POSITIVE_INFINITY
  const majorityOfReplicas = Math.floor(replicas / 2) + 1
  const majorityOfServers = Math.floor(servers.length / 2) + 1
  return Math.max(majorityOfServers, servers.length - majorityOfReplicas + 1)
}

function warningFor(advertise: string, peers: readonly string[], servers: readonly string[]): string | null {
  if (!peers.includes(advertise)) {
    return [
      `This host (${advertise}) is not in WHERRY_PEERS (${peers.join(', ')}) and runs no nats-server:`,
      'give every host the same list, with its own address in it.',
    ].join(' ')
  }
  if (servers.length === 2) {
    return [
      `The registry has two nats-servers (${servers.join(', ')}): losing either stops changes until it is back.`,
      'Add a third host to survive the loss of one.',
    ].join(' ')
  }
  return null
}

/** Returns where the embedded servers of a cluster listen, this host's own first. */
export function clusterEndpoint(plan: NatsPlan, settings: NatsSettings, tls: TlsFiles): Endpoint {
  const own = plan.runsServer ? [settings.advertise] : []
  const others = plan.servers.filter((address) => address !== settings.advertise)
  const servers = [...own, ...others].map((address) => joinHostPort(address, settings.clientPort))
  return { servers, tls, tlsFirst: true, inbox: inboxOf(settings.advertise), login: null }
}

/** NATS's own default port, for URLs without one. */
const NATS_PORT = 4222

/**
 * Returns where the user's own NATS listens.
 * The first URL may have a login (`tls://user:password@host`, `tls://token@host`).
 * SETTING_INVALID: a URL is wrong, or is `nats://` to another machine: no plaintext leaves the host.
 */
export function ownEndpoint(urls: readonly string[], advertise: string, tls: TlsFiles): Endpoint {
  const parsed = urls.map(parseNatsUrl)
  const schemes = new Set(parsed.map((url) => url.protocol))
  if (schemes.size > 1) {
    throw new WherryError('SETTING_INVALID', 'WHERRY_NATS mixes tls:// and nats:// URLs.', { hint: 'Use one of them.' })
  }
  const servers = parsed.map((url) => `${url.hostname}:${url.port === '' ? NATS_PORT : url.port}`)
  const encrypted = schemes.has('tls:')
  const remote = servers.find((server) => !isLoopback(hostOf(server)))
  if (!encrypted && remote !== undefined) {
    throw new WherryError('SETTING_INVALID', `WHERRY_NATS names ${remote} without TLS; no plaintext between hosts.`, {
      hint: `Use tls://${remote} and let that NATS accept the certificates under <state>/tls/.`,
    })
  }
  const inbox = inboxOf(advertise)
  return { servers, tls: encrypted ? tls : null, tlsFirst: false, inbox, login: loginOf(parsed[0]) }
}

function parseNatsUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || url.hostname === '' || (url.protocol !== 'nats:' && url.protocol !== 'tls:')) {
    throw new WherryError('SETTING_INVALID', `WHERRY_NATS: "${text.replace(/\/\/.*@/, '//...@')}" is not a NATS URL.`, {
      hint: 'Example: tls://10.0.0.5:4222,tls://10.0.0.6:4222',
    })
  }
  return url
}

function loginOf(url: URL | undefined): Endpoint['login'] {
  if (url === undefined || url.username === '') return null
  const user = decodeURIComponent(url.username)
  return url.password === '' ? { token: user } : { user, password: decodeURIComponent(url.password) }
}

/** True for 127.0.0.0/8, ::1 and the name localhost. */
function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.')
  return host === '::1' || host === 'localhost'
}
