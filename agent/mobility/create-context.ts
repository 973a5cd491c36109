import { KeyedQueue } from '../runtime/keyed-queue.ts'
import type { LocalCopy } from '../store/contract.ts'
import { FairCheckpointScheduler } from './checkpoint/scheduler.ts'
import type { Context } from './context.ts'
import type { Dependencies } from './dependencies.ts'
import { hasAnyMovedOn } from './hold/confirm-hold.ts'
import { EngineUses } from './hold/container-uses.ts'
import { releaseIfUnused } from './hold/release.ts'
import { ReleaseTroubleTable } from './hold/release-troubles.ts'
import { fenceNow } from './hold/resume-fenced.ts'
import { surrenderHold } from './hold/surrender.ts'
import { HeartbeatExpiry } from './lease/expiry.ts'
import { WatchdogVolumes } from './lease/guarded-volumes.ts'
import { describeHost } from './lease/heartbeat.ts'
import { HeldCopies } from './lease/held-copies.ts'
import { KnownHosts } from './lease/host-directory.ts'
import { Isolation } from './lease/isolation.ts'
import { HeartbeatLease } from './lease/lease.ts'
import { notedStore } from './lease/noted-store.ts'
import { ProbedStateDisk } from './lease/state-disk.ts'
import { IdleCatchUp } from './placement/catch-up.ts'
import { JobCopyManager } from './replication/copy-manager.ts'
import { LiveCaptureSet } from './replication/live-captures.ts'
import { SharedTreeChecks } from './replication/tree-checks.ts'
import { EngineNamesakes } from './swarm/namesakes.ts'
import { VolumeTroubles } from './volume-troubles.ts'
import { KeyedWakeups, RECONCILE } from './wakeups.ts'

/** What the decisions share, and the loops behind it. */
export interface SharedState {
  readonly context: Context
  /**
   * The copies of this disk; as they were read last while it cannot be read.
   * A disk that fails must not keep this host from saying so, nor make Docker forget a volume (promise 10).
   */
  readCopies(): Promise<readonly LocalCopy[]>
  /** Starts the loops; they run until the agent stops. */
  run(): void
}

/** Puts the context together. Nothing runs yet. */
export function createContext(given: Dependencies): SharedState {
  const held = new HeldCopies(given)
  const dependencies = { ...given, store: notedStore(given.store, (id, copy) => held.note(id, copy)) }
  const { clock, leaseMs, engine, engineFacts, self } = dependencies
  const hosts = new KnownHosts(clock, leaseMs, dependencies.hostNames)
  const locks = new KeyedQueue()
  const wakeups = new KeyedWakeups()
  const confirmed: Context['confirmed'] = new Map()
  const onRenewed = (hadExpired: boolean) => {
    // Others may have taken over meanwhile: a write has to confirm each hold.
    if (hadExpired) confirmed.clear()
    guardedVolumes.tellSoon()
    if (hadExpired) wakeups.wake(RECONCILE)
  }
  const lease = new HeartbeatLease(
    dependencies,
    async () => describeHost(context, await held.all()),
    onRenewed,
    (isStart) => fenceNow(context, isStart),
    () => hasAnyMovedOn(dependencies),
  )
  const guardedVolumes = new WatchdogVolumes(dependencies, lease, held)
  const treeChecks = new SharedTreeChecks(dependencies)
  const copyManager = new JobCopyManager(dependencies, hosts, locks, wakeups, treeChecks)
  const namesakes = new EngineNamesakes({ dependencies, wakeups })
  const stateDisk = new ProbedStateDisk(dependencies, () => followStateDisk(context))
  const context: Context = {
    dependencies,
    hosts,
    locks,
    wakeups,
    copyManager,
    treeChecks,
    lease,
    expiry: new HeartbeatExpiry(dependencies, hosts, lease),
    guardedVolumes,
    localCopies: held,
    placementDue: { changed: new Set(), sweepMs: Number.NEGATIVE_INFINITY },
    containerUses: new EngineUses(engine, clock),
    liveCaptures: new LiveCaptureSet(),
    namesakes,
    releases: {
      releaseIfUnused: (id, asked) => releaseIfUnused(context, id, asked),
      surrender: (asked, signal) => surrenderHold(context, asked, signal),
    },
    releaseTroubles: new ReleaseTroubleTable(dependencies),
    volumeTroubles: new VolumeTroubles(dependencies),
    stateDisk,
    node: {
      ...(engineFacts.get() ?? { name: self.address, swarmNode: null, zone: null }),
      leader: false,
      drained: false,
    },
    engineInfo: { dueMs: Number.NEGATIVE_INFINITY },
    space: { freeBytes: 0, totalBytes: 0 },
    pendingMounts: new Map(),
    confirmed,
    releasing: new Set(),
    surrendered: new Map(),
    givenSeqs: new Map(),
    removalsSeen: new Set(),
    refusedTombstones: new Map(),
    endedUses: new Map(),
    // These two share the context themselves.
    get catchUp() {
      return catchUp
    },
    get checkpointScheduler() {
      return checkpointScheduler
    },
  }
  const catchUp = new IdleCatchUp(context)
  const checkpointScheduler = new FairCheckpointScheduler(context)
  return {
    context,
    readCopies: () => dependencies.store.copies().then(({ copies }) => copies, held.all.bind(held)),
    run() {
      copyManager.follow()
      void lease.run()
      void stateDisk.run()
      void new Isolation(dependencies, hosts, lease).run()
      void checkpointScheduler.run()
      void catchUp.run()
      void namesakes.run()
    },
  }
}

/**
 * Gives the lease up when this host cannot write its state, and takes it up when it can.
 * Such a host cannot keep what it promises about its holds: what others could take over is fenced here, and they take
 * over when their own clocks allow it.
 * A host without peers continues: no host could take over.
 */
function followStateDisk(
  context: Pick<Context, 'dependencies' | 'wakeups' | 'lease' | 'guardedVolumes' | 'stateDisk'>,
): void {
  const { dependencies, stateDisk, lease, guardedVolumes, wakeups } = context
  if (dependencies.alone) return
  if (stateDisk.trouble === null) {
    lease.takeUp()
    return
  }
  lease.giveUp()
  guardedVolumes.tellSoon()
  wakeups.wake(RECONCILE)
}
