import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { z } from 'zod'
import { NatsBus } from '../agent/bus/bus.ts'
import { EmbeddedNats } from '../agent/bus/embedded.ts'
import { planNats } from '../agent/bus/plan.ts'
import { JetStreamRegistry } from '../agent/registry/registry.ts'
import { BUCKET_NAMES } from '../agent/registry/setup.ts'
import { run } from '../lab/command.ts'
import type { LabReport, LabSettings } from './lab-report.ts'
import { cpuSecondsOf } from './process-figures.ts'
import type { AgentsReport, AgentsWork } from './scale-agents.ts'
import { describeScale, type ScaleFigures } from './scale-report.ts'
import { idleRecord } from './scale-volumes.ts'

const HOSTS = 100
const VOLUMES = 2_000
const CHANGES_PER_SECOND = 20
const PROCESSES = 4
const SETTLE_SECONDS = 60
const MEASURE_SECONDS = 30
const ADDRESSES = ['127.0.0.1', '127.0.0.2', '127.0.0.3']
const CERTS_SCRIPT = fileURLToPath(new URL('../scripts/certs', import.meta.url))
const AGENTS_PROGRAM = fileURLToPath(new URL('scale-agents.ts', import.meta.url))
const TIMEOUT_MS = 120_000
/** Writes under way at a time while the volumes are made. */
const WRITES_AT_ONCE = 32

const varz = z.object({ out_bytes: z.number() })
const log = pino({ level: 'silent' })

/**
 * Measures what many agents cost three real nats-servers and each other.
 * The agents have the real registry, lease and decisions; disks and engines are doubles. Nothing is mounted.
 */
export async function benchScale({ scale, say }: LabSettings): Promise<LabReport> {
  const [hosts, volumes] = [Math.ceil(HOSTS * scale), Math.ceil(VOLUMES * scale)]
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'wherry-scale-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const servers = await startServers(dir, stack)
  const [first] = servers
  if (first === undefined) throw new Error('no server')
  const bus = stack.use(new NatsBus({ endpoint: first.endpoint, name: 'bench', log }))
  const registry = stack.use(
    new JetStreamRegistry({ bus, replicas: 3, oldStore: null, seals: null, manages: true, log }),
  )
  await until(() => registry.state().ready)
  say(`${volumes} volumes`)
  const names = Array.from({ length: volumes }, (_, nth) => nth).values()
  const make = async () => {
    for (const nth of names) await registry.addVolume(idleRecord(nth, hosts))
  }
  await Promise.all(Array.from({ length: WRITES_AT_ONCE }, make))
  say(`${hosts} agents`)
  const processes = await startAgents(servers, hosts, volumes, stack)
  await sleep(SETTLE_SECONDS * 1000)
  say(`measured for ${MEASURE_SECONDS} s`)
  const idle = await measure(servers, processes, hosts)
  const stop = new AbortController()
  const changing = change(registry, volumes, hosts, stop.signal)
  const busy = await measure(servers, processes, hosts)
  stop.abort()
  await changing
  return describeScale({ hosts, volumes, changes: CHANGES_PER_SECOND }, idle, busy)
}

async function startServers(dir: string, stack: AsyncDisposableStack): Promise<EmbeddedNats[]> {
  await run(CERTS_SCRIPT, [`${dir}/certs`, ...ADDRESSES], { timeoutMs: TIMEOUT_MS })
  // Below the kernel's range of ports for clients.
  const clientPort = 20_000 + Math.floor(Math.random() * 10_000)
  const starting = ADDRESSES.map((advertise) => {
    const certs = `${dir}/certs/${advertise}`
    const tls = { ca: `${certs}/ca.pem`, cert: `${certs}/cert.pem`, key: `${certs}/key.pem` }
    const settings = { advertise, peers: ADDRESSES, urls: [], clientPort, clusterPort: clientPort + 1 }
    const binary = process.env.WHERRY_NATS_SERVER
    const options = {
      plan: planNats(settings),
      settings,
      stateDir: `${dir}/${advertise}`,
      tls,
      buckets: BUCKET_NAMES,
      log,
    }
    return EmbeddedNats.start({ ...options, ...(binary === undefined ? {} : { binary }) })
  })
  return (await Promise.all(starting)).map((server) => stack.use(server))
}

async function startAgents(
  servers: readonly EmbeddedNats[],
  hosts: number,
  volumes: number,
  stack: AsyncDisposableStack,
): Promise<ChildProcess[]> {
  const started = Array.from({ length: PROCESSES }, async (_, nth) => {
    const child = fork(AGENTS_PROGRAM)
    stack.defer(() => void child.kill('SIGKILL'))
    const [from, to] = [nth, nth + 1].map((part) => Math.floor((part * hosts) / PROCESSES))
    const { endpoint } = servers[nth % servers.length] as EmbeddedNats
    const address = ADDRESSES[nth % servers.length] ?? ''
    const work: AgentsWork = { endpoint, address, from: from ?? 0, to: to ?? 0, hosts, volumes }
    child.send(work)
    await once(child, 'message')
    return child
  })
  return await Promise.all(started)
}

/** Writes the records of random volumes again, so many a second. */
async function change(registry: JetStreamRegistry, volumes: number, hosts: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { name } = idleRecord(Math.floor(Math.random() * volumes), hosts)
    const write = async () => {
      const entry = await registry.volume(name)
      if (entry !== null) await registry.updateVolume(entry.value, entry.revision)
    }
    void write().catch(() => undefined)
    await sleep(1000 / CHANGES_PER_SECOND)
  }
}

async function measure(
  servers: readonly EmbeddedNats[],
  processes: readonly ChildProcess[],
  hosts: number,
): Promise<ScaleFigures> {
  for (const child of processes) child.send('begin')
  const before = await read(servers, processes)
  const startMs = performance.now()
  await sleep(MEASURE_SECONDS * 1000)
  const after = await read(servers, processes)
  const seconds = (performance.now() - startMs) / 1000
  const times = after.renewalsMs.sort((a, b) => a - b)
  const per = (key: 'sent' | 'received' | 'bytes' | 'agentCpu' | 'serverCpu') => (after[key] - before[key]) / seconds
  return {
    sent: per('sent') / hosts,
    received: per('received') / hosts,
    megabytes: per('bytes') / 1e6,
    agentCpu: per('agentCpu') / hosts,
    serverCpu: per('serverCpu') / servers.length,
    renewals: times.length / seconds,
    medianMs: times[Math.floor(times.length / 2)] ?? Number.NaN,
    p99Ms: times[Math.floor(times.length * 0.99)] ?? Number.NaN,
  }
}

async function read(servers: readonly EmbeddedNats[], processes: readonly ChildProcess[]) {
  const total = { sent: 0, received: 0, bytes: 0, agentCpu: 0, serverCpu: 0, renewalsMs: [] as number[] }
  for (const server of servers) {
    total.bytes += varz.parse(await server.monitor('/varz', TIMEOUT_MS)).out_bytes
    total.serverCpu += cpuSecondsOf(server.state()?.pid ?? 0)
  }
  for (const child of processes) {
    child.send('report')
    const [report] = (await once(child, 'message')) as [AgentsReport]
    total.sent += report.sent
    total.received += report.received
    total.renewalsMs.push(...report.renewalsMs)
    total.agentCpu += cpuSecondsOf(child.pid ?? 0)
  }
  return total
}

async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + TIMEOUT_MS
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error('the registry is not ready')
    await sleep(100)
  }
}
