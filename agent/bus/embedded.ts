import { access, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { WherryError } from '../model/errors.ts'
import { stampOf, watchFiles } from '../runtime/file-watch.ts'
import { type CertificateNames, checkCertificate } from './certificate-names.ts'
import type { Endpoint, TlsFiles } from './endpoint.ts'
import type { BucketNames } from './host-rights.ts'
import { listenOnLoopback, loopbackEndpoint } from './loopback.ts'
import { clusterEndpoint, type NatsPlan, type NatsSettings, ownEndpoint } from './plan.ts'
import type { ServerConfig } from './server-config.ts'
import { serverVersion } from './server-process.ts'
import { CONFLICTS_FILE, StandaloneStore } from './standalone-store.ts'
import { lockStore, type StoreLock } from './store-lock.ts'
import { type ServerState, Supervisor } from './supervisor.ts'
import { isOlder, OLDEST_FOR_REPLICAS, OLDEST_WITH_SYNC_INTERVAL, type Version } from './version.ts'

/** Debian's path, also used in the plugin's root file system. */
const DEFAULT_BINARY = '/usr/bin/nats-server'

export interface EmbeddedNatsOptions {
  readonly plan: NatsPlan
  readonly settings: NatsSettings
  /** The agent's state directory. The server's files are under `<state>/nats/`. */
  readonly stateDir: string
  /** This host's certificates. Not read in mode `single`. */
  readonly tls: TlsFiles
  readonly buckets: BucketNames
  /** Path of nats-server. */
  readonly binary?: string
  readonly log: Logger
}

/** Certificates change once in months: a delay of some seconds does not matter. */
const CERTIFICATES_EVERY_MS = 5_000

/**
 * This host's part of the registry: a nats-server if the plan says so, and the endpoint of the registry.
 */
export class EmbeddedNats implements AsyncDisposable {
  /** How to reach the registry's servers. */
  readonly endpoint: Endpoint
  /** What the operator should know about this layout, one line each. */
  readonly warnings: readonly string[]
  readonly #options: EmbeddedNatsOptions
  readonly #lock: StoreLock
  readonly #supervisor: Supervisor | null
  #watch: AsyncDisposable | null = null

  private constructor(
    options: EmbeddedNatsOptions,
    endpoint: Endpoint,
    lock: StoreLock,
    supervisor: Supervisor | null,
    warnings: readonly string[],
  ) {
    this.#options = options
    this.warnings = warnings
    this.endpoint = endpoint
    this.#lock = lock
    this.#supervisor = supervisor
  }

  /**
   * Takes the lock on `<state>/nats/` and starts the server in the background, without waiting until it serves.
   * Ends a nats-server that a dead agent left running.
   * STATE_LOCKED: another agent uses the directory. NATS_SERVER_FAILED: the program cannot be run.
   * NATS_TOO_OLD: it is too old for a cluster. SETTING_INVALID: the settings would hide a registry on this disk.
   */
  static async start(options: EmbeddedNatsOptions): Promise<EmbeddedNats> {
    const { plan, settings, stateDir, log } = options
    const dir = join(stateDir, 'nats')
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await refuseToHideCluster(plan, dir)
    const binary = options.binary ?? DEFAULT_BINARY
    const version = plan.runsServer ? await serverVersion(binary) : null
    if (version !== null) checkVersion(version, plan, binary, log)
    const lock = await lockStore(join(dir, 'lock'), dir, log)
    const endpoint = await endpointOf(options, dir, version)
    const names = plan.mode === 'cluster' ? await checkCertificate(options.tls.cert, settings.advertise) : null
    const supervisor =
      version === null
        ? null
        : new Supervisor({
            binary,
            configPath: join(dir, 'nats.conf'),
            config: { version, storeDir: join(dir, plan.mode), listen: listenOf(options, endpoint, names) },
            lockFd: lock.fd,
            log,
          })
    const warnings = [plan.warning, routeWarning(plan, options.tls.cert, names)].filter((text) => text !== null)
    for (const note of warnings) log.warn({ note }, 'registry layout has a weakness')
    const embedded = new EmbeddedNats(options, endpoint, lock, supervisor, warnings)
    await embedded.#watchCertificates()
    return embedded
  }

  /** Returns the state of this host's server; null: it runs none. */
  state(): ServerState | null {
    return this.#supervisor?.state() ?? null
  }

  /** Asks this host's server for its health. Null: it is healthy or there is none; else one line that says why not. */
  async problem(): Promise<string | null> {
    return (await this.#supervisor?.problem()) ?? null
  }

  /** As `Supervisor.monitor`; undefined also if this host runs no server. */
  async monitor(path: string, timeoutMs: number): Promise<unknown> {
    return this.#supervisor?.monitor(path, timeoutMs)
  }

  /** Returns the store of this host's time as a standalone host, if its records are not migrated yet. */
  async oldStore(): Promise<StandaloneStore | null> {
    const { plan, stateDir, log } = this.#options
    const dir = join(stateDir, 'nats')
    if (plan.mode === 'single' || !(await exists(join(dir, 'single', 'jetstream')))) return null
    return new StandaloneStore({ dir, binary: this.#options.binary ?? DEFAULT_BINARY, lockFd: this.#lock.fd, log })
  }

  /** File in which `registry` remembers the buckets it has seen. */
  get seenPath(): string {
    return join(this.#options.stateDir, 'nats', `seen-${this.#options.plan.mode}.json`)
  }

  /** Lists records that migrations left behind, one line each, until the operator removes the note of them. */
  async leftBehind(): Promise<string[]> {
    const dir = join(this.#options.stateDir, 'nats')
    const lines: string[] = []
    for (const name of await readdir(dir)) {
      if (!name.startsWith('single.carried-')) continue
      const text = await readFile(join(dir, name, CONFLICTS_FILE), 'utf8').catch(() => '')
      lines.push(...text.split('\n').filter((line) => line !== ''))
    }
    return lines
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch?.[Symbol.asyncDispose]()
    await this.#supervisor?.[Symbol.asyncDispose]()
    this.#lock[Symbol.dispose]()
  }

  async #watchCertificates(): Promise<void> {
    const supervisor = this.#supervisor
    const { tls } = this.endpoint
    if (supervisor === null || tls === null || this.#options.plan.mode === 'single') return
    const files = [tls.ca, tls.cert, tls.key]
    const reload = () => {
      this.#options.log.info('certificates changed: nats-server reloads them')
      supervisor.reload()
    }
    this.#watch = watchFiles(files, await stampOf(files), CERTIFICATES_EVERY_MS, reload)
  }
}

/** Refuses to start a standalone server beside a cluster's store, which it cannot read (promise 10). */
async function refuseToHideCluster(plan: NatsPlan, dir: string): Promise<void> {
  const store = join(dir, 'cluster')
  if (plan.mode === 'cluster' || !(await exists(join(store, 'jetstream')))) return
  throw new WherryError('SETTING_INVALID', `This host was part of a registry cluster, whose data is in ${store}.`, {
    hint: `Set WHERRY_PEERS to the cluster's hosts again, or move ${store} away to begin with an empty registry.`,
  })
}

function checkVersion(version: Version, plan: NatsPlan, binary: string, log: Logger): void {
  if (plan.mode === 'cluster' && isOlder(version, OLDEST_FOR_REPLICAS)) {
    throw new WherryError('NATS_TOO_OLD', `${binary} is ${version.join('.')}, which loses updates in a cluster.`, {
      hint: `Install nats-server ${OLDEST_FOR_REPLICAS.join('.')} or newer.`,
    })
  }
  if (isOlder(version, OLDEST_WITH_SYNC_INTERVAL)) {
    const about = { version: version.join('.') }
    log.warn(about, 'nats-server syncs to disk from time to time only: a power cut may lose the last minutes')
  }
}

/** A certificate without the address as a DNS name cannot tell servers from clients; null: it can. */
function routeWarning(plan: NatsPlan, path: string, names: CertificateNames | null): string | null {
  if (!plan.runsServer || names === null || names.provesServer) return null
  return [
    `${path} was made by an older release: with its own certificate any host can join the registry as a server.`,
    'Run scripts/certs again, copy the files to every host, and restart the agents.',
  ].join(' ')
}

async function endpointOf(options: EmbeddedNatsOptions, dir: string, version: Version | null): Promise<Endpoint> {
  const { plan, settings, tls } = options
  if (plan.mode === 'own') return ownEndpoint(settings.urls, settings.advertise, tls)
  if (plan.mode === 'cluster') return clusterEndpoint(plan, settings, tls)
  return await loopbackEndpoint(dir, 'single', version)
}

function listenOf(
  { plan, settings, buckets }: EmbeddedNatsOptions,
  endpoint: Endpoint,
  names: CertificateNames | null,
): ServerConfig['listen'] {
  const { tls } = endpoint
  if (tls === null) throw new WherryError('INTERNAL', 'An embedded nats-server has no certificate.')
  if (plan.mode !== 'cluster') return listenOnLoopback(endpoint, tls)
  return {
    kind: 'cluster',
    address: settings.advertise,
    clientPort: settings.clientPort,
    clusterPort: settings.clusterPort,
    others: plan.servers.filter((address) => address !== settings.advertise),
    hosts: settings.peers.map((address) => ({ address, runsServer: plan.servers.includes(address) })),
    buckets,
    checksRoutes: names?.provesServer === true,
    tls,
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
