import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Logger, pino } from 'pino'
import { NatsBus } from '../../../agent/bus/bus.ts'
import { EmbeddedNats } from '../../../agent/bus/embedded.ts'
import type { TlsFiles } from '../../../agent/bus/endpoint.ts'
import { type NatsPlan, type NatsSettings, planNats } from '../../../agent/bus/plan.ts'
import { BUCKET_NAMES } from '../../../agent/registry/setup.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../../..')
const CACHE = process.env.WHERRY_CACHE ?? '/var/cache/wherry'

/** A cluster on a busy two-core machine needs up to half a minute to come up. */
const EVENTUALLY_MS = 60_000

/** The suites of Debian that the tests take nats-server from, by what they are for. */
const SUITES = { newest: 'sid', older: 'trixie', tooOld: 'bookworm' } as const

/** Path of a real nats-server; WHERRY_NATS_SERVER names one for `newest`. */
export async function natsServer(which: keyof typeof SUITES = 'newest'): Promise<string> {
  const named = process.env.WHERRY_NATS_SERVER
  if (which === 'newest' && named !== undefined) return named
  const dir = join(CACHE, 'tests', SUITES[which])
  await run(join(ROOT, 'scripts/lib/debian-package'), [SUITES[which], 'nats-server', dir])
  for (const path of ['usr/bin/nats-server', 'usr/sbin/nats-server']) {
    const found = await access(join(dir, path)).then(
      () => true,
      () => false,
    )
    if (found) return join(dir, path)
  }
  throw new Error(`no nats-server in ${dir}`)
}

/** A line that was logged. */
export interface LoggedLine {
  readonly level: number
  readonly msg: string
  readonly [field: string]: unknown
}

/** Log lines at warn and above, or from another level on, for tests that look at them. */
export function recordingLog(level = 'warn'): { log: Logger; lines: LoggedLine[] } {
  const lines: LoggedLine[] = []
  const log = pino(
    { level },
    {
      write: (line: string) => {
        lines.push(JSON.parse(line))
        if (process.env.WHERRY_TEST_LOG !== undefined) process.stderr.write(line)
      },
    },
  )
  return { log, lines }
}

export async function scratch(): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), 'wherry-nats-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) }
}

/** Certificates for the addresses, made with the script that users have. */
export async function certificates(dir: string, addresses: readonly string[]): Promise<Record<string, TlsFiles>> {
  await run(join(ROOT, 'scripts/certs'), [dir, ...addresses])
  return Object.fromEntries(addresses.map((address) => [address, tlsFiles(join(dir, address))]))
}

export function tlsFiles(dir: string): TlsFiles {
  return { ca: join(dir, 'ca.pem'), cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') }
}

/** Ports that are free on every address of 127.0.0.0/8 now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '0.0.0.0'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => once(server.close(), 'close')))
  return ports
}

export interface TestHost extends AsyncDisposable {
  readonly address: string
  readonly plan: NatsPlan
  readonly embedded: EmbeddedNats
  readonly bus: NatsBus
  readonly lines: readonly LoggedLine[]
  readonly log: Logger
}

export interface NatsHostOptions {
  readonly stateDir: string
  readonly address?: string
  readonly peers?: readonly string[]
  readonly ports?: readonly [number, number]
  readonly tls?: TlsFiles
  readonly binary?: string
  readonly logLevel?: string
}

export async function startHost(options: NatsHostOptions): Promise<TestHost> {
  const { stateDir, address = '127.0.0.1', peers = [], ports = [0, 0] } = options
  const { log, lines } = recordingLog(options.logLevel)
  const settings: NatsSettings = { advertise: address, peers, urls: [], clientPort: ports[0], clusterPort: ports[1] }
  const plan = planNats(settings)
  const binary = options.binary ?? (await natsServer())
  const tls = options.tls ?? tlsFiles(join(stateDir, 'tls'))
  const embedded = await EmbeddedNats.start({ plan, settings, stateDir, tls, buckets: BUCKET_NAMES, binary, log })
  const bus = new NatsBus({ endpoint: embedded.endpoint, name: `test ${address}`, log })
  return {
    address,
    plan,
    embedded,
    bus,
    log,
    lines,
    async [Symbol.asyncDispose]() {
      await bus[Symbol.asyncDispose]()
      await embedded[Symbol.asyncDispose]()
    },
  }
}

/** Waits until `holds` does; fails with what it last said or threw. */
export async function eventually<T>(
  what: string,
  holds: () => T | Promise<T>,
  timeoutMs = EVENTUALLY_MS,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const value = await holds()
      if (value) return value as NonNullable<T>
      last = value
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`, { cause: last })
    await sleep(50)
  }
}

/** The pid of the nats-server that this host's supervisor started. */
export function serverPid(host: TestHost): number {
  const pid = host.embedded.state()?.pid
  if (pid === undefined || pid === null) throw new Error('no server is running')
  return pid
}

/** Stops a process where it stands; returns when none of its threads runs any more. SIGCONT lets it go on. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  await eventually('all threads stand still', async () => {
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      const stat = await readFile(`/proc/${pid}/task/${thread}/stat`, 'utf8')
      if (!/\) T /.test(stat)) return false
    }
    return true
  })
}
