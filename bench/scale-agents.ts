import { readFileSync } from 'node:fs'
import { pino } from 'pino'
import { NatsBus } from '../agent/bus/bus.ts'
import type { Endpoint } from '../agent/bus/endpoint.ts'
import type { NatsConnection } from '../agent/bus/nats.ts'
import type { Dependencies } from '../agent/mobility/dependencies.ts'
import { createMobility } from '../agent/mobility/mobility.ts'
import type { HostRecord } from '../agent/model/model.ts'
import { VolumeCache } from '../agent/registry/cache.ts'
import { HostSeals } from '../agent/registry/host-seal.ts'
import { JetStreamRegistry } from '../agent/registry/registry.ts'
import { systemClock } from '../agent/runtime/clock.ts'
import { MemoryEngine } from '../test/fake/memory-engine.ts'
import { MemoryStore } from '../test/fake/memory-store.ts'
import { FakePauses } from '../test/fake/pauses.ts'
import { SILENT_TALLY } from '../test/fake/silent-tally.ts'
import { copyHosts, hostName, idleRecord } from './scale-volumes.ts'

/** What the parent sends to each process of agents. */
export interface AgentsWork {
  readonly endpoint: Endpoint
  /** All agents of a process have the certificate of this address. */
  readonly address: string
  readonly from: number
  readonly to: number
  readonly hosts: number
  readonly volumes: number
}

const NEVER = new AbortController().signal
const log = pino({ level: 'silent' })
const renewalsMs: number[] = []
/** All connections that there were; a lost one connects again by itself. */
const connections: NatsConnection[] = []

/** What the agents of this process have done so far. */
export interface AgentsReport {
  readonly renewalsMs: readonly number[]
  readonly sent: number
  readonly received: number
}

/** One agent: registry, lease and decisions are the real ones, its disk and engine are doubles. */
async function startAgent(nth: number, { endpoint, address, hosts, volumes }: AgentsWork): Promise<void> {
  const id = hostName(nth)
  const bus = new NatsBus({ endpoint, name: id, log })
  bus.onConnect((connection) => void (connections.includes(connection) || connections.push(connection)), NEVER)
  const registry = new JetStreamRegistry({
    bus,
    replicas: 3,
    oldStore: null,
    seals: sealsOf(endpoint),
    manages: true,
    log,
  })
  const updateHost = registry.updateHost.bind(registry)
  registry.updateHost = async (record: HostRecord, revision: number) => {
    const startMs = performance.now()
    const write = await updateHost(record, revision)
    if (record.id === id && write.outcome === 'done') renewalsMs.push(performance.now() - startMs)
    return write
  }
  const cache = new VolumeCache({ registry })
  cache.follow(NEVER)
  const parts = partsOf(id, address, registry, cache, bus)
  await fillStore(parts.store as MemoryStore, nth, hosts, volumes)
  await createMobility(parts, { notes: () => [] }).start()
}

async function fillStore(store: MemoryStore, nth: number, hosts: number, volumes: number): Promise<void> {
  for (let volume = 0; volume < volumes; volume++) {
    if (!copyHosts(volume, hosts).includes(nth)) continue
    const record = idleRecord(volume, hosts)
    await store.create(record)
    store.trees.set(record.id, record.name)
    await store.update(record.id, { checkpoint: record.last, epochSeen: record.epoch })
  }
}

/** Each agent signs its heartbeats, and checks those of all others, as in a cluster. */
function sealsOf({ tls }: Endpoint): HostSeals {
  if (tls === null) throw new Error('no certificate')
  const files = { ca: readFileSync(tls.ca), cert: readFileSync(tls.cert), key: readFileSync(tls.key) }
  return new HostSeals({ current: () => files }, [])
}

function partsOf(
  id: string,
  address: string,
  registry: JetStreamRegistry,
  cache: VolumeCache,
  bus: NatsBus,
): Dependencies {
  const engine = new MemoryEngine()
  return {
    self: { id, address, transferPort: 1, incarnation: `incarnation of ${id}`, version: 'bench' },
    registry,
    cache,
    bus,
    engine,
    store: new MemoryStore(systemClock),
    puller: { pull: () => Promise.reject(new Error('nothing is copied here')) },
    peers: { ask: () => Promise.reject(new Error('nobody is asked here')) },
    leaderView: async () => ({ server: false, leader: false }),
    watchdog: { guard: () => undefined, inherited: async () => ({ untilMs: -Infinity, volumes: [] }) },
    pauses: new FakePauses(new Map(), engine),
    freezes: { freeze: () => Promise.reject(new Error('nothing is frozen here')) },
    clock: systemClock,
    newId: () => crypto.randomUUID(),
    log,
    tally: SILENT_TALLY,
    heartbeatMs: 1_000,
    leaseMs: 8_000,
    seizeAfterMs: 12_000,
    pauseBudgetMs: 500,
    checkpointShare: 0.2,
    replaceAfterMs: 600_000,
    alone: false,
    registryHosts: [],
    leaderlessQuorum: Number.POSITIVE_INFINITY,
    certificateEnds: () => null,
    peerAddresses: [],
    engineFacts: { get: () => null, set: async () => undefined },
    drainFlag: { get: () => false, set: async () => undefined },
    signal: NEVER,
  }
}

function report(): AgentsReport {
  const sum = (key: 'inMsgs' | 'outMsgs') => connections.reduce((total, one) => total + one.stats()[key], 0)
  return { renewalsMs, sent: sum('outMsgs'), received: sum('inMsgs') }
}

process.on('message', async (message: AgentsWork | 'begin' | 'report') => {
  if (message === 'begin') renewalsMs.length = 0
  else if (message === 'report') process.send?.(report())
  else {
    for (let nth = message.from; nth < message.to; nth++) await startAgent(nth, message)
    process.send?.('started')
  }
})
process.on('disconnect', () => process.exit(0))
