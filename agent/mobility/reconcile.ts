import { basename } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { codeOf, WherryError } from '../model/errors.ts'
import type { VolumeRecord } from '../model/model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { isUnused } from './checkpoint/surrendered.ts'
import type { Context } from './context.ts'
import { forEachVolume, paceOf } from './for-each-volume.ts'
import { confirmHold } from './hold/confirm-hold.ts'
import { dropEndedUses } from './hold/ended-uses.ts'
import { confirmHolds, setAsideDiverged } from './hold/give-up-hold.ts'
import { resumeFenced } from './hold/resume-fenced.ts'
import { HostReports } from './lease/host-reports.ts'
import { createPlacementMemory } from './placement/memory.ts'
import { reconcilePlacement } from './placement/reconcile-placement.ts'
import { noteRecord } from './record/record-mark.ts'
import { reconcileDamage } from './replication/damaged-copies.ts'
import { dropPartialCopies } from './volume/drop-partial-copies.ts'
import { finishRemoval } from './volume/finish-removal.ts'
import { clearTombstones } from './volume/tombstones.ts'
import { RECONCILE } from './wakeups.ts'

/** Wakeups do the work in time; this interval is for what they miss. */
const ROUND_MS = 2_000
/** Between two rounds: wakeups may come in any number. */
const LEAST_GAP_MS = 500
/** For changes of copies that no wakeup reports. */
const COPIES_EVERY_MS = 5_000
/** How often the engine is asked about itself and its Swarm, unless one of its events may have changed that. */
const ENGINE_INFO_MS = 10_000
/** For what only a crash leaves behind. */
const LEFTOVERS_EVERY_MS = 60_000
/** Bound of the registry work of one round. */
const ROUND_LIMIT_MS = 30_000

/** Takes in the heartbeats that have come until the agent stops. By them others' leases are judged. */
export async function watchHosts(context: Pick<Context, 'dependencies' | 'hosts' | 'stateDisk'>): Promise<void> {
  const { registry, clock, heartbeatMs, signal } = context.dependencies
  const reports = new HostReports(context)
  while (!signal.aborted) {
    try {
      context.hosts.see(await registry.followedHosts())
      reports.report()
    } catch (error) {
      report(context, 'read the heartbeats', error)
    }
    await clock.sleep(heartbeatMs, signal)
  }
}

/**
 * Reconcile loop: compares disk, kernel mounts, Docker and the registry, and repairs differences.
 * Every step is idempotent, and none relies on another having run (promise 11).
 */
export async function reconcileLoop(context: Context): Promise<void> {
  const { dependencies } = context
  const placement = createPlacementMemory(dependencies)
  const startedMs = dependencies.clock.elapsedMs()
  let copiesAtMs = 0
  let leftoversAtMs = 0
  /** The last failure of each step: the same one again is logged at debug. */
  const said = new Map<string, string>()
  while (!dependencies.signal.aborted) {
    // What happens during this round calls for another one.
    const woken = context.wakeups.wait(
      RECONCILE,
      (until) => dependencies.clock.sleep(ROUND_MS, until),
      dependencies.signal,
    )
    const steps: [string, () => Promise<void>][] = [
      ['ask the engine', () => askEngine(context)],
      ['resume fenced containers', () => resumeFenced(context)],
      ['confirm holds', () => confirmHolds(context)],
      ['reconcile local volumes', () => settleLocal(context)],
      ['discard removed volumes', async () => clearTombstones(context, await dependencies.registry.followedRemoved())],
    ]
    const nowMs = dependencies.clock.elapsedMs()
    if (nowMs >= copiesAtMs) {
      steps.push(['measure the disk', async () => void Object.assign(context.space, await dependencies.store.space())])
      steps.push(['compare copies with their records', () => compareCopies(context)])
      steps.push(['place copies', () => reconcilePlacement(context, placement)])
      steps.push(['scan for copies that are behind', () => context.catchUp.sweep()])
      steps.push(['drop partial copies', () => dropPartialCopies(context, startedMs)])
      copiesAtMs = nowMs + COPIES_EVERY_MS
    }
    if (nowMs >= leftoversAtMs) {
      steps.push(['finish removals', () => finishRemovals(context)])
      steps.push([
        'empty the trash',
        async () => void (await dependencies.store.emptyTrash(dependencies.clock.elapsedMs())),
      ])
      leftoversAtMs = nowMs + LEFTOVERS_EVERY_MS
    }
    for (const [what, step] of steps) {
      await step().then(
        () => said.delete(what),
        (error: unknown) => {
          report(context, what, error, said.get(what) === String(error))
          said.set(what, String(error))
        },
      )
    }
    await Promise.all([woken, dependencies.clock.sleep(LEAST_GAP_MS, dependencies.signal)])
  }
}

function report(
  context: Pick<Context, 'dependencies' | 'stateDisk'>,
  what: string,
  error: unknown,
  isKnown = false,
): void {
  if (context.dependencies.signal.aborted) return
  context.stateDisk.suspect(error)
  const expected = isKnown || codeOf(error) === 'REGISTRY_UNAVAILABLE' || codeOf(error) === 'ENGINE_UNREACHABLE'
  context.dependencies.log[expected ? 'debug' : 'error']({ err: error, step: what }, 'reconcile step failed')
}

async function askEngine(
  context: Pick<Context, 'dependencies' | 'containerUses' | 'node' | 'engineInfo'>,
): Promise<void> {
  await context.containerUses.refresh()
  const { clock } = context.dependencies
  if (clock.elapsedMs() < context.engineInfo.dueMs) return
  const info = await context.dependencies.engine.info()
  context.node.name = info.name
  context.node.swarmNode = info.swarmNode
  context.node.leader = info.leader
  context.engineInfo.dueMs = clock.elapsedMs() + ENGINE_INFO_MS
  const { name, swarmNode, zone } = context.node
  const facts = { name, swarmNode, zone }
  const { engineFacts, log } = context.dependencies
  if (isDeepStrictEqual(facts, engineFacts.get())) return
  await engineFacts.set(facts).catch((error: unknown) => log.debug({ err: error }, 'host name not saved'))
}

/**
 * Releases holds without uses, unmounts volumes without holds, and remounts lost mounts.
 * It also notices lost Unmounts.
 */
async function settleLocal(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'guardedVolumes'
    | 'containerUses'
    | 'releases'
    | 'releaseTroubles'
    | 'volumeTroubles'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
): Promise<void> {
  const { store } = context.dependencies
  const { copies, damaged } = await store.copies()
  const unreadable = damaged.map(({ path, reason, code = 'COPY_DAMAGED' }): [string, WherryError] => [
    basename(path),
    new WherryError(code, reason),
  ])
  context.releaseTroubles.noteUnreadable(new Map(unreadable))
  const mounted = await store.mounted()
  // Releases have a pace of their own.
  for (const copy of copies)
    if (copy.held !== null && isUnused(context, copy)) void context.releases.releaseIfUnused(copy.id)
  const settle = async (copy: LocalCopy) => {
    if (copy.held !== null) await settleMounted(context, copy, mounted.has(copy.id))
    else if (mounted.has(copy.id)) await context.locks.run(copy.id, () => unmountIdle(context, copy.id))
  }
  const settled = copies.filter((copy) => copy.held === null || !isUnused(context, copy))
  await forEachVolume(settled, settle, paceOf(context, 'settle mounts'))
}

/**
 * Learns which held volumes others could take over, and sets diverged trees aside.
 * A confirmed hold that the record shows as ended is given up, however that came about: no epoch above ours can begin
 * while we hold.
 */
async function compareCopies(
  context: Pick<Context, 'dependencies' | 'locks' | 'wakeups' | 'guardedVolumes' | 'confirmed' | 'volumeTroubles'>,
): Promise<void> {
  const { store, registry, self } = context.dependencies
  const compare = async (copy: LocalCopy) => {
    const record = (await registry.followedVolume(copy.name))?.value
    if (record?.id !== copy.id) return
    if (copy.held === null) {
      await setAsideDiverged(context, copy, record)
      await noteRecord(context.dependencies, copy, record)
      await reconcileDamage(context, copy, record)
    } else if (record.epoch > copy.held.epoch) dropConfirmed(context, copy.id, copy.held.incarnation)
    else if (record.holder?.incarnation === copy.held.incarnation) context.guardedVolumes.learn(record, self.id)
  }
  await forEachVolume((await store.copies()).copies, compare, paceOf(context, 'compare with the record'))
}

/** From here on only a write can tell what has become of the hold; the next round makes it. */
function dropConfirmed(
  context: Pick<Context, 'dependencies' | 'wakeups' | 'confirmed'>,
  id: string,
  incarnation: string,
): void {
  if (context.confirmed.get(id)?.incarnation !== incarnation) return
  context.confirmed.delete(id)
  context.dependencies.log.error({ id }, 'record shows a later hold of a volume in use here')
  context.wakeups.wake(RECONCILE)
}

async function unmountIdle(context: Pick<Context, 'dependencies'>, id: string): Promise<void> {
  if ((await context.dependencies.store.copy(id))?.held === null) await context.dependencies.store.unmount(id)
}

async function settleMounted(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'guardedVolumes'
    | 'containerUses'
    | 'releases'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
  copy: LocalCopy,
  isMounted: boolean,
): Promise<void> {
  const { store } = context.dependencies
  if (context.containerUses.failure() !== null) return
  if (!isMounted && context.containerUses.live(copy.name).length > 0) {
    await context.locks.run(copy.id, async () => {
      const local = await store.copy(copy.id)
      if (local === null || local.held === null) return
      // An unconfirmed hold may be lost. `confirmHolds` confirms it, but not one that was surrendered.
      const isSure = context.confirmed.get(copy.id)?.incarnation === local.held.incarnation
      if (!isSure && !(context.surrendered.has(copy.id) && (await confirmHold(context, local)) === 'held')) return
      context.surrendered.delete(copy.id)
      await store.mount(copy.id)
    })
    return
  }
  await dropEndedUses(context, copy, isMounted)
}

/** Finishes removals that a host began before it was killed. */
async function finishRemovals(context: Pick<Context, 'dependencies' | 'volumeTroubles'>): Promise<void> {
  const { registry, signal, clock } = context.dependencies
  const removed = (await registry.followedVolumes()).filter(({ value }) => value.removedAt !== null)
  const finish = (value: VolumeRecord) =>
    finishRemoval(context, value, AbortSignal.any([signal, clock.deadline(ROUND_LIMIT_MS)]))
  const records = removed.map(({ value }) => value)
  await forEachVolume(records, finish, paceOf(context, 'finish the removal'))
}
