import { pino } from 'pino'
import { FairCheckpointScheduler } from '../../../agent/mobility/checkpoint/scheduler.ts'
import type { Context } from '../../../agent/mobility/context.ts'
import type { Dependencies } from '../../../agent/mobility/dependencies.ts'
import { EngineUses } from '../../../agent/mobility/hold/container-uses.ts'
import { ReleaseTroubleTable } from '../../../agent/mobility/hold/release-troubles.ts'
import { KnownHosts } from '../../../agent/mobility/lease/host-directory.ts'
import { ProbedStateDisk } from '../../../agent/mobility/lease/state-disk.ts'
import { JobCopyManager } from '../../../agent/mobility/replication/copy-manager.ts'
import { LiveCaptureSet } from '../../../agent/mobility/replication/live-captures.ts'
import { SharedTreeChecks } from '../../../agent/mobility/replication/tree-checks.ts'
import { VolumeTroubles } from '../../../agent/mobility/volume-troubles.ts'
import { KeyedWakeups } from '../../../agent/mobility/wakeups.ts'
import { VolumeCache } from '../../../agent/registry/cache.ts'
import { KeyedQueue } from '../../../agent/runtime/keyed-queue.ts'
import { FakePauses } from '../../fake/pauses.ts'
import { SILENT_TALLY } from '../../fake/silent-tally.ts'

const LEASE_MS = 8_000

/** The context of a host whose checkpoints are real. */
export interface HeldContext extends Context {
  readonly checkpointScheduler: FairCheckpointScheduler
}

type Given = Pick<Dependencies, 'registry' | 'store' | 'puller' | 'peers' | 'freezes' | 'engine' | 'clock' | 'signal'>

/** Dependencies of a host without a fence, a bus or a registry server. */
export function heldDependencies(name: string, given: Given): Dependencies {
  return {
    ...given,
    self: { id: name, address: name, transferPort: 1, incarnation: name, version: '1' },
    cache: new VolumeCache({ registry: given.registry }),
    leaderView: async () => ({ server: false, leader: false }),
    watchdog: { guard: () => undefined, inherited: async () => ({ untilMs: Number.NEGATIVE_INFINITY, volumes: [] }) },
    pauses: new FakePauses(new Map(), given.engine),
    bus: { publish: () => undefined, subscribe: () => undefined, state: () => ({ connected: true, detail: '' }) },
    newId: () => 'new',
    log: pino({ level: 'silent' }),
    tally: SILENT_TALLY,
    heartbeatMs: 1_000,
    leaseMs: LEASE_MS,
    seizeAfterMs: 12_000,
    pauseBudgetMs: 500,
    checkpointShare: 0.2,
    replaceAfterMs: 600_000,
    certificateEnds: () => null,
    peerAddresses: [],
    drainFlag: { get: () => false, set: async () => undefined },
    engineFacts: { get: () => null, set: async () => undefined },
    alone: false,
    registryHosts: [],
    leaderlessQuorum: Number.POSITIVE_INFINITY,
  }
}

/** What checkpoints and copies need of an agent. `lease` is the test's, and so is what `expect` is told. */
export function heldContext(
  dependencies: Dependencies,
  lease: Context['lease'],
  expect: (id: string) => void,
): HeldContext {
  const { clock, engine } = dependencies
  const [hosts, locks, wakeups] = [new KnownHosts(clock, LEASE_MS), new KeyedQueue(), new KeyedWakeups()]
  const treeChecks = new SharedTreeChecks(dependencies)
  const shared = {
    dependencies,
    hosts,
    locks,
    wakeups,
    treeChecks,
    lease,
    copyManager: new JobCopyManager(dependencies, hosts, locks, wakeups, treeChecks),
    catchUp: { note: () => undefined, retry: () => undefined, sweep: async () => undefined },
    expiry: {
      inMs: () => Number.POSITIVE_INFINITY,
      patienceMs: () => dependencies.seizeAfterMs,
      end: async () => false,
    },
    guardedVolumes: {
      learn: () => undefined,
      expect: async (id: string) => expect(id),
      ensure: async () => undefined,
      guards: () => false,
      isGuarded: () => false,
      tell: async () => undefined,
      tellSoon: () => undefined,
      guard: async () => ({ untilMs: lease.untilMs, volumes: [] }),
    },
    containerUses: new EngineUses(engine, clock),
    liveCaptures: new LiveCaptureSet(),
    namesakes: { names: [], note: () => undefined },
    releases: {
      releaseIfUnused: () => Promise.reject(new Error('nothing is released here')),
      surrender: () => Promise.reject(new Error('nobody asks for a surrender here')),
    },
    volumeTroubles: new VolumeTroubles(dependencies),
    releaseTroubles: new ReleaseTroubleTable(dependencies),
    stateDisk: new ProbedStateDisk(dependencies, () => undefined),
    node: { name: dependencies.self.id, swarmNode: null, leader: false, zone: null, drained: false },
    engineInfo: { dueMs: Number.NEGATIVE_INFINITY },
    localCopies: { has: () => true },
    placementDue: { changed: new Set<string>(), sweepMs: 0 },
    space: { freeBytes: 0, totalBytes: 0 },
    pendingMounts: new Map(),
    confirmed: new Map(),
    releasing: new Set<string>(),
    surrendered: new Map(),
    givenSeqs: new Map(),
    removalsSeen: new Set<string>(),
    refusedTombstones: new Map(),
    endedUses: new Map(),
  }
  return { ...shared, checkpointScheduler: new FairCheckpointScheduler(shared) }
}
