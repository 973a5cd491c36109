import { WherryError } from '../model/errors.ts'
import type { VolumeRecord } from '../model/model.ts'
import { KeyedQueue } from '../runtime/keyed-queue.ts'
import { isUnwritable } from '../sys/failure.ts'
import type { Question, QuestionAnswerer, TreeChooser } from '../transfer/contract.ts'
import { CheckpointScheduler } from './checkpoint/scheduler.ts'
import type { Context } from './context.ts'
import type { Health, HostView, Mobility, MoveView, VolumeView } from './contract.ts'
import type { Parts } from './dependencies.ts'
import { notFound, stateUnwritable } from './errors.ts'
import { answerComparison } from './failover/sound-candidates.ts'
import { hasAnyMovedOn } from './hold/confirm-hold.ts'
import { ContainerUses } from './hold/container-uses.ts'
import { mountVolume } from './hold/mount.ts'
import { releaseIfUnused } from './hold/release.ts'
import { ReleaseTroubles } from './hold/release-troubles.ts'
import { fenceNow } from './hold/resume-fenced.ts'
import { answerSurrender } from './hold/surrender.ts'
import { Expiry } from './lease/expiry.ts'
import { GuardedVolumes } from './lease/guarded-volumes.ts'
import { HeldCopies } from './lease/held-copies.ts'
import { KnownHosts } from './lease/host-directory.ts'
import { Isolation } from './lease/isolation.ts'
import { Lease } from './lease/lease.ts'
import { notedStore } from './lease/noted-store.ts'
import { StateDisk } from './lease/state-disk.ts'
import { answerCopy, takeOffer } from './peer/accept-offer.ts'
import { chooseTree } from './peer/serve-tree.ts'
import { CatchUp } from './placement/catch-up.ts'
import { drainHost } from './placement/drain.ts'
import { describeHost, reconcileLoop, watchHosts } from './reconcile.ts'
import { untilAnswered } from './record/update-record.ts'
import { takeInventory } from './recovery/inventory.ts'
import { recoverRegistry } from './recovery/recover.ts'
import { CopyManager } from './replication/copy-manager.ts'
import { LiveCaptures } from './replication/live-captures.ts'
import { TreeChecks } from './replication/tree-checks.ts'
import { verifyVolume } from './replication/verify.ts'
import { Hints } from './swarm/hints.ts'
import { Namesakes } from './swarm/namesakes.ts'
import { followNodes } from './swarm/node-facts.ts'
import { leadNodes } from './swarm/node-labels.ts'
import { troubleOf } from './trouble.ts'
import { createVolume } from './volume/create.ts'
import { describeSetAside } from './volume/finish-removal.ts'
import { promoteVolume } from './volume/promote.ts'
import { answerReferences } from './volume/reference-answer.ts'
import { removeVolume } from './volume/remove.ts'
import { hearHosts, lookAtDisk, viewHosts, viewVolume } from './volume/view.ts'
import { RECONCILE, Wakeups } from './wakeups.ts'

/** The decisions of one host. Nothing happens before `start`. */
export interface RunningMobility extends Mobility {
  /** Recovers what a crash left on this disk, then begins to follow the cluster until the parts' signal aborts. */
  start(): Promise<void>
  /** What other hosts may read here. */
  readonly source: TreeChooser
  /** What other hosts may ask. */
  readonly answer: QuestionAnswerer
}

export function createMobility(
  given: Parts,
  about: { version: string; notes: () => readonly string[] },
): RunningMobility {
  const held = new HeldCopies(given)
  const parts = { ...given, store: notedStore(given.store, (id, copy) => held.note(id, copy)) }
  const core = createCore(parts, held)
  const isolation = new Isolation(parts, core.hosts, core.lease)
  const hints = new Hints(core)
  // A disk that fails must not keep this host from saying so, nor make Docker forget a volume (promise 10).
  const copies = () => parts.store.copies().then(({ copies }) => copies, held.all.bind(held))
  const look = async () => lookAtDisk(core, await copies())
  const view = async (record: VolumeRecord, stale: boolean): Promise<VolumeView> =>
    viewVolume(core, record, await look(), stale)
  const orUnwritable = <T>(name: string, work: Promise<T>) => namingDisk(core, name, work)
  return {
    async start() {
      await parts.store.recover()
      parts.registry.watch((name) => {
        core.wakes.wake(name)
        core.wakes.wake(RECONCILE)
        if (name === null) return
        core.catchUp.look(name)
        core.namesakes.note(name)
      }, parts.signal)
      core.copying.follow()
      hints.start()
      followNodes(core)
      void leadNodes(core)
      void core.lease.run()
      void core.stateDisk.run()
      void isolation.run()
      void watchHosts(core)
      void core.checkpointing.run()
      void core.catchUp.run()
      void reconcileLoop(core)
      void core.namesakes.run()
    },
    answer: (question, _peer, signal) => answerQuestion(core, question, signal),
    source: (request, _peer, signal) => chooseTree(core, request, signal),
    create: async (name, options) => view(await orUnwritable(name, createVolume(core, name, options)), false),
    async get(name, signal) {
      const { entry, stale } = await getKnown(core, name, signal)
      if (entry === null || entry.value.removedAt !== null) throw notFound(name)
      hints.wanted(entry.value)
      await hearHosts(core)
      return view(entry.value, stale)
    },
    async list() {
      const { entries, stale } = await parts.cache.list()
      await hearHosts(core)
      const disk = await look()
      return entries
        .filter(({ value }) => value.removedAt === null)
        .map(({ value }) => viewVolume(core, value, disk, stale))
    },
    remove: (name) =>
      orUnwritable(
        name,
        removeVolume(core, name).then(() => undefined),
      ),
    removeWith: (name, consent, signal) => orUnwritable(name, removeVolume(core, name, consent, signal)),
    async mount(name, mountId, deadlineMs) {
      const startedMs = parts.clock.elapsedMs()
      const mountpoint = await orUnwritable(name, mountVolume(core, name, mountId, deadlineMs))
      parts.log.info({ volume: name, mountId, waitMs: Math.round(parts.clock.elapsedMs() - startedMs) }, 'mounted')
      return { mountpoint }
    },
    unmount: (name, mountId) => orUnwritable(name, unmountVolume(core, name, mountId)),
    verify: (name, signal) => orUnwritable(name, verifyVolume(core, name, signal)),
    async promote(name, acceptLoss, signal) {
      const { record, changed, summary } = await orUnwritable(name, promoteVolume(core, name, acceptLoss, signal))
      return { ...(await view(record, false)), changed, summary }
    },
    drain: (on) => drainHost(core, on),
    recover: (signal) => recoverRegistry(core, signal),
    async hosts(): Promise<HostView[]> {
      await hearHosts(core)
      return viewHosts(core)
    },
    async moves(): Promise<MoveView[]> {
      return core.copying.moves(core.hosts.label(parts.self.id))
    },
    async health(): Promise<Health> {
      const registry = await parts.registry.hosts().then(
        () => ({ available: true, detail: parts.bus.state().detail }),
        (error: unknown) => ({
          available: false,
          detail: error instanceof WherryError ? error.toLine() : String(error),
        }),
      )
      const failure = core.uses.failure()
      return {
        ready: registry.available && failure === null && core.stateDisk.trouble === null,
        registry,
        engine: { reachable: failure === null, detail: failure ?? core.engine.name },
        state: { writable: core.stateDisk.trouble === null, detail: core.stateDisk.trouble?.text ?? '' },
        lease: { secondsLeft: Math.max(0, Math.round(core.lease.untilMs - parts.clock.elapsedMs()) / 1000) },
        fenced: (await parts.pauses.all()).map(({ container }) => container),
        notes: [...about.notes(), ...(await describeSetAside(core).catch(() => []))],
        hostId: parts.self.id,
        version: about.version,
      }
    },
  }
}

/** Everything that is shared, wired up; nothing runs yet. */
function createCore(parts: Parts, held: HeldCopies): Context {
  const hosts = new KnownHosts(parts.clock, parts.leaseMs)
  const facts = parts.engineFacts.get() ?? { name: parts.self.address, swarmNode: null, zone: null }
  const locks = new KeyedQueue()
  const wakes = new Wakeups()
  const confirmed: Context['confirmed'] = new Map()
  const describe = async () => describeHost(whole, await held.all())
  const runsOn = (lapsed: boolean) => {
    // Others may have taken over meanwhile: a write has to tell for each hold.
    if (lapsed) confirmed.clear()
    guarding.tellSoon()
    if (lapsed) wakes.wake(RECONCILE)
  }
  const ended = (isStart: boolean) => fenceNow(whole, isStart)
  const lease = new Lease(parts, describe, runsOn, ended, () => hasAnyMovedOn(parts))
  const guarding = new GuardedVolumes(parts, lease, held)
  const checks = new TreeChecks(parts)
  const core: Omit<Context, 'checkpointing' | 'catchUp'> = {
    parts,
    hosts,
    locks,
    wakes,
    copying: new CopyManager(parts, hosts, locks, wakes, checks),
    checks,
    lease,
    expiry: new Expiry(parts, hosts, lease),
    guarding,
    pendingMounts: new Map(),
    uses: new ContainerUses(parts.engine, parts.clock),
    engine: { ...facts, leader: false, drained: false },
    disk: { freeBytes: 0, totalBytes: 0 },
    confirmed,
    releasing: new Set(),
    liveCaptures: new LiveCaptures(),
    namesakes: new Namesakes({ parts, wakes }),
    troubles: new ReleaseTroubles(parts),
    stateDisk: new StateDisk(parts, () => followDisk(core)),
    surrendered: new Map(),
    givenSeqs: new Map(),
    overUses: new Map(),
  }
  const whole = core as Context & { checkpointing: CheckpointScheduler; catchUp: CatchUp }
  whole.checkpointing = new CheckpointScheduler(whole)
  whole.catchUp = new CatchUp(whole)
  return whole
}

/** What `work` comes to; an error of a disk that cannot be written says so, and has the disk probed. */
async function namingDisk<T>(core: Context, name: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isUnwritable(error)) throw error
    core.stateDisk.suspect(error)
    throw stateUnwritable(core, name, troubleOf(error, core.parts.clock.now()))
  }
}

/**
 * A host that cannot write its state keeps no promise about what it holds: what others could go on from is fenced now,
 * by a lease that is over, and others may take it over once their own clocks say so. A host without peers has nobody
 * that could.
 */
function followDisk(core: Pick<Context, 'parts' | 'stateDisk' | 'lease' | 'guarding' | 'wakes'>): void {
  if (core.parts.alone) return
  if (core.stateDisk.trouble === null) {
    core.lease.takeUp()
    return
  }
  core.lease.giveUp()
  core.guarding.tellSoon()
  core.wakes.wake(RECONCILE)
}

async function answerQuestion(core: Context, question: Question, signal: AbortSignal): Promise<unknown> {
  switch (question.kind) {
    case 'copy':
      return await answerCopy(core, question.volume)
    case 'offer':
      return await takeOffer(core, question, signal)
    case 'references':
      return await answerReferences(core, question)
    case 'surrender':
      return await answerSurrender(core, question, signal)
    case 'registry':
      return await core.parts.sight()
    case 'compare':
      return await answerComparison(core, question, signal)
    case 'inventory':
      return await takeInventory(core)
  }
}

/** The registry's word, or its last one; waits for a registry that is away as long as the caller does (promise 10). */
function getKnown(core: Context, name: string, signal: AbortSignal): ReturnType<Parts['cache']['get']> {
  const { cache, clock } = core.parts
  return untilAnswered(clock, () => cache.get(name), AbortSignal.any([signal, core.parts.signal]))
}

/**
 * Drops one use of a volume on this host; the last one starts the release, which goes on after the answer. Only this
 * disk is asked and only this host's hold can be touched (promise 8).
 */
async function unmountVolume(core: Context, name: string, mountId: string): Promise<void> {
  const { store } = core.parts
  const { copies } = await store.copies()
  const local = copies.find((copy) => copy.name === name && copy.mounts[mountId] !== undefined)
  if (local === undefined) return
  const left = await core.locks.run(local.id, async () => {
    const now = await store.copy(local.id)
    const { mounts: before, uses } = now ?? local
    const { [mountId]: count = 0, ...others } = before
    const mounts = count > 1 ? { ...others, [mountId]: count - 1 } : others
    await store.update(local.id, { mounts, uses: core.uses.unmounted(uses) })
    return Object.keys(mounts).length
  })
  if (left === 0) void releaseIfUnused(core, local.id)
  else core.wakes.wake(RECONCILE)
}
