import { WherryError } from '../model/errors.ts'
import type { VolumeRecord } from '../model/model.ts'
import { isUnwritable } from '../sys/failure.ts'
import type { Question, QuestionAnswerer, TreeChooser } from '../transfer/contract.ts'
import type { Context } from './context.ts'
import type { Health, HostView, Mobility, MoveView, VolumeView } from './contract.ts'
import { createContext } from './create-context.ts'
import type { Dependencies } from './dependencies.ts'
import { notFound, stateUnwritable } from './errors.ts'
import { answerComparison } from './failover/sound-candidates.ts'
import { mountVolume } from './hold/mount.ts'
import { releaseIfUnused } from './hold/release.ts'
import { answerSurrender } from './hold/surrender.ts'
import { HeldCopies } from './lease/held-copies.ts'
import { notedStore } from './lease/noted-store.ts'
import { answerCopy, takeOffer } from './peer/accept-offer.ts'
import { chooseTree } from './peer/serve-tree.ts'
import { drainHost } from './placement/drain.ts'
import { reconcileLoop, watchHosts } from './reconcile.ts'
import { untilAnswered } from './record/update-record.ts'
import { takeInventory } from './recovery/inventory.ts'
import { recoverRegistry } from './recovery/recover.ts'
import { verifyVolume } from './replication/verify.ts'
import { Hints } from './swarm/hints.ts'
import { followNodes } from './swarm/node-facts.ts'
import { leadNodes } from './swarm/node-labels.ts'
import { troubleOf } from './trouble.ts'
import { createVolume } from './volume/create.ts'
import { describeSetAside } from './volume/finish-removal.ts'
import { promoteVolume } from './volume/promote.ts'
import { answerReferences } from './volume/reference-answer.ts'
import { removeVolume } from './volume/remove.ts'
import { hearHosts, lookAtDisk, viewHosts, viewVolume } from './volume/view.ts'
import { RECONCILE } from './wakeups.ts'

/** The decisions of one host. Nothing happens before `start`. */
export interface RunningMobility extends Mobility {
  /** Recovers what a crash left on this disk, then begins to follow the cluster until the agent's signal aborts. */
  start(): Promise<void>
  /** What other hosts may read here. */
  readonly source: TreeChooser
  /** What other hosts may ask. */
  readonly answer: QuestionAnswerer
}

export function createMobility(
  given: Dependencies,
  about: { version: string; notes: () => readonly string[] },
): RunningMobility {
  const held = new HeldCopies(given)
  const dependencies = { ...given, store: notedStore(given.store, (id, copy) => held.note(id, copy)) }
  const { context, run } = createContext(dependencies, held)
  const hints = new Hints(context)
  // A disk that fails must not keep this host from saying so, nor make Docker forget a volume (promise 10).
  const copies = () => dependencies.store.copies().then(({ copies }) => copies, held.all.bind(held))
  const look = async () => lookAtDisk(context, await copies())
  const view = async (record: VolumeRecord, stale: boolean): Promise<VolumeView> =>
    viewVolume(context, record, await look(), stale)
  const orUnwritable = <T>(name: string, work: Promise<T>) => namingDisk(context, name, work)
  return {
    async start() {
      await dependencies.store.recover()
      dependencies.registry.watch((name) => {
        context.wakeups.wake(name)
        context.wakeups.wake(RECONCILE)
        if (name === null) return
        context.catchUp.note(name)
        context.namesakes.note(name)
      }, dependencies.signal)
      hints.start()
      followNodes(context)
      void leadNodes(context)
      run()
      void watchHosts(context)
      void reconcileLoop(context)
    },
    answer: (question, _peer, signal) => answerQuestion(context, question, signal),
    source: (request, _peer, signal) => chooseTree(context, request, signal),
    create: async (name, options) => view(await orUnwritable(name, createVolume(context, name, options)), false),
    async get(name, signal) {
      const { entry, stale } = await getKnown(context, name, signal)
      if (entry === null || entry.value.removedAt !== null) throw notFound(name)
      hints.wanted(entry.value)
      await hearHosts(context)
      return view(entry.value, stale)
    },
    async list() {
      const { entries, stale } = await dependencies.cache.list()
      await hearHosts(context)
      const disk = await look()
      return entries
        .filter(({ value }) => value.removedAt === null)
        .map(({ value }) => viewVolume(context, value, disk, stale))
    },
    remove: (name) =>
      orUnwritable(
        name,
        removeVolume(context, name).then(() => undefined),
      ),
    removeWith: (name, consent, signal) => orUnwritable(name, removeVolume(context, name, consent, signal)),
    async mount(name, mountId, deadlineMs) {
      const startedMs = dependencies.clock.elapsedMs()
      const mountpoint = await orUnwritable(name, mountVolume(context, name, mountId, deadlineMs))
      dependencies.log.info(
        { volume: name, mountId, waitMs: Math.round(dependencies.clock.elapsedMs() - startedMs) },
        'mounted',
      )
      return { mountpoint }
    },
    unmount: (name, mountId) => orUnwritable(name, unmountVolume(context, name, mountId)),
    verify: (name, signal) => orUnwritable(name, verifyVolume(context, name, signal)),
    async promote(name, acceptLoss, signal) {
      const { record, changed, summary } = await orUnwritable(name, promoteVolume(context, name, acceptLoss, signal))
      return { ...(await view(record, false)), changed, summary }
    },
    drain: (on) => drainHost(context, on),
    recover: (signal) => recoverRegistry(context, signal),
    async hosts(): Promise<HostView[]> {
      await hearHosts(context)
      return viewHosts(context)
    },
    async moves(): Promise<MoveView[]> {
      return context.copyManager.moves(context.hosts.label(dependencies.self.id))
    },
    async health(): Promise<Health> {
      const registry = await dependencies.registry.hosts().then(
        () => ({ available: true, detail: dependencies.bus.state().detail }),
        (error: unknown) => ({
          available: false,
          detail: error instanceof WherryError ? error.toLine() : String(error),
        }),
      )
      const failure = context.containerUses.failure()
      return {
        ready: registry.available && failure === null && context.stateDisk.trouble === null,
        registry,
        engine: { reachable: failure === null, detail: failure ?? context.node.name },
        state: { writable: context.stateDisk.trouble === null, detail: context.stateDisk.trouble?.text ?? '' },
        lease: { secondsLeft: Math.max(0, Math.round(context.lease.untilMs - dependencies.clock.elapsedMs()) / 1000) },
        fenced: (await dependencies.pauses.all()).map(({ container }) => container),
        notes: [...about.notes(), ...(await describeSetAside(context).catch(() => []))],
        hostId: dependencies.self.id,
        version: about.version,
      }
    },
  }
}

/** What `work` comes to; an error of a disk that cannot be written says so, and has the disk probed. */
async function namingDisk<T>(context: Context, name: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!isUnwritable(error)) throw error
    context.stateDisk.suspect(error)
    throw stateUnwritable(context, name, troubleOf(error, context.dependencies.clock.now()))
  }
}

async function answerQuestion(context: Context, question: Question, signal: AbortSignal): Promise<unknown> {
  switch (question.kind) {
    case 'copy':
      return await answerCopy(context, question.volume)
    case 'offer':
      return await takeOffer(context, question, signal)
    case 'references':
      return await answerReferences(context, question)
    case 'surrender':
      return await answerSurrender(context, question, signal)
    case 'registry':
      return await context.dependencies.sight()
    case 'compare':
      return await answerComparison(context, question, signal)
    case 'inventory':
      return await takeInventory(context)
  }
}

/** The registry's word, or its last one; waits for a registry that is away as long as the caller does (promise 10). */
function getKnown(context: Context, name: string, signal: AbortSignal): ReturnType<Dependencies['cache']['get']> {
  const { cache, clock } = context.dependencies
  return untilAnswered(clock, () => cache.get(name), AbortSignal.any([signal, context.dependencies.signal]))
}

/**
 * Drops one use of a volume on this host; the last one starts the release, which goes on after the answer. Only this
 * disk is asked and only this host's hold can be touched (promise 8).
 */
async function unmountVolume(context: Context, name: string, mountId: string): Promise<void> {
  const { store } = context.dependencies
  const { copies } = await store.copies()
  const local = copies.find((copy) => copy.name === name && copy.mounts[mountId] !== undefined)
  if (local === undefined) return
  const left = await context.locks.run(local.id, async () => {
    const now = await store.copy(local.id)
    const { mounts: before, uses } = now ?? local
    const { [mountId]: count = 0, ...others } = before
    const mounts = count > 1 ? { ...others, [mountId]: count - 1 } : others
    await store.update(local.id, { mounts, uses: context.containerUses.unmounted(uses) })
    return Object.keys(mounts).length
  })
  if (left === 0) void releaseIfUnused(context, local.id)
  else context.wakeups.wake(RECONCILE)
}
