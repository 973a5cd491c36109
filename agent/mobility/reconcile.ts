import { basename } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { codeOf } from '../model/errors.ts'
import type { LocalCopy } from '../store/contract.ts'
import { isUnused } from './checkpoint/surrendered.ts'
import type { Context } from './context.ts'
import { forEachVolume } from './for-each-volume.ts'
import { confirmHold } from './hold/confirm-hold.ts'
import { dropEndedUses } from './hold/ended-uses.ts'
import { confirmHolds, settleDiverged } from './hold/give-up-hold.ts'
import { releaseIfUnused } from './hold/release.ts'
import { settleFences } from './hold/resume-fenced.ts'
import type { Heartbeat } from './lease/lease.ts'
import { createPlacementMemory } from './placement/memory.ts'
import { keepPlaced } from './placement/reconcile.ts'
import { damagedCopies, settleDamage } from './replication/damaged-copies.ts'
import { dropUnborn } from './volume/drop-unborn.ts'
import { clearTombstones, finishRemoval } from './volume/finish-removal.ts'
import { RECONCILE } from './wakeups.ts'

/** Wakes do the work in time; this look is for what they missed. */
const ROUND_MS = 2_000
/** What of the copies no wake tells of; each look reads one record per copy here. */
const COPIES_EVERY_MS = 5_000
/** What only a crash leaves behind; looking for it reads every record. */
const LEFTOVERS_EVERY_MS = 60_000
/** Bound of the registry work of one round. */
const ROUND_LIMIT_MS = 30_000

/** What this host's heartbeat says; answers at once from what was last known of the disk. */
export async function describeHost(
  core: Pick<Context, 'parts' | 'engine' | 'uses' | 'disk' | 'checkpointing' | 'namesakes' | 'troubles' | 'stateDisk'>,
  copies: readonly LocalCopy[],
): Promise<Heartbeat> {
  const { parts, engine, disk } = core
  const held = copies.filter((copy) => copy.held !== null)
  return {
    id: parts.self.id,
    name: engine.name,
    address: parts.self.address,
    transferPort: parts.self.transferPort,
    swarmNode: engine.swarmNode,
    uses: Object.fromEntries(held.map((copy) => [copy.id, core.uses.live(copy.name)])),
    referrers: core.uses.referrers(),
    covered: Object.fromEntries(
      held.flatMap(({ id }) => {
        const covered = core.checkpointing.covered(id)
        return covered === null ? [] : [[id, covered]]
      }),
    ),
    diverged: Object.fromEntries(
      copies.filter(({ diverged }) => diverged.length > 0).map(({ id, diverged }) => [id, diverged.length]),
    ),
    namesakes: core.namesakes.names,
    stuck: core.troubles.all(),
    damaged: damagedCopies(copies),
    unwritable: core.stateDisk.trouble,
    freeBytes: disk.freeBytes,
    totalBytes: disk.totalBytes,
    zone: engine.zone,
    draining: engine.drained || parts.drainWish.get(),
  }
}

/** Reads all heartbeats once a heartbeat until the agent stops: by them others' leases are judged. */
export async function watchHosts(core: Context): Promise<void> {
  const { registry, clock, heartbeatMs, signal } = core.parts
  while (!signal.aborted) {
    try {
      core.hosts.see(await registry.hosts())
    } catch (error) {
      report(core, 'read the heartbeats', error)
    }
    await clock.sleep(heartbeatMs, signal)
  }
}

/**
 * Brings what is, by disk, kernel, engine and registry, to what it should be, over and over (promise 11). Each step is
 * safe to repeat, and none trusts that another one ran.
 */
export async function reconcileLoop(core: Context): Promise<void> {
  const { parts } = core
  const placement = createPlacementMemory(core)
  const startedMs = parts.clock.elapsedMs()
  let copiesAtMs = 0
  let leftoversAtMs = 0
  /** The last failure of each step: the same one again is no news. */
  const said = new Map<string, string>()
  while (!parts.signal.aborted) {
    const steps: [string, () => Promise<void>][] = [
      ['ask the engine', () => askEngine(core)],
      ['let fenced containers go on', () => settleFences(core)],
      ['confirm holds', () => confirmHolds(core)],
      ['put local volumes in order', () => settleLocal(core)],
      ['put removed volumes away', async () => clearTombstones(core, await parts.registry.removed())],
    ]
    const nowMs = parts.clock.elapsedMs()
    if (nowMs >= copiesAtMs) {
      steps.push(['look at the disk', async () => void Object.assign(core.disk, await parts.store.space())])
      steps.push(['compare copies with their records', () => compareCopies(core)])
      steps.push(['place copies', () => keepPlaced(core, placement)])
      steps.push(['look which copies are behind', () => core.catchUp.sweep()])
      steps.push(['drop what never became a copy', () => dropUnborn(core, startedMs)])
      copiesAtMs = nowMs + COPIES_EVERY_MS
    }
    if (nowMs >= leftoversAtMs) {
      steps.push(['finish removals', () => finishRemovals(core)])
      steps.push(['empty the trash', async () => void (await parts.store.emptyTrash(parts.clock.elapsedMs()))])
      leftoversAtMs = nowMs + LEFTOVERS_EVERY_MS
    }
    for (const [what, step] of steps) {
      await step().then(
        () => said.delete(what),
        (error: unknown) => {
          report(core, what, error, said.get(what) === String(error))
          said.set(what, String(error))
        },
      )
    }
    await core.wakes.wait(RECONCILE, (until) => parts.clock.sleep(ROUND_MS, until), parts.signal)
  }
}

function report(core: Context, what: string, error: unknown, isKnown = false): void {
  if (core.parts.signal.aborted) return
  core.stateDisk.suspect(error)
  const expected = isKnown || codeOf(error) === 'REGISTRY_UNAVAILABLE' || codeOf(error) === 'ENGINE_UNREACHABLE'
  core.parts.log[expected ? 'debug' : 'error']({ err: error }, `could not ${what}`)
}

async function askEngine(core: Context): Promise<void> {
  await core.uses.refresh()
  const info = await core.parts.engine.info()
  core.engine.name = info.name
  core.engine.swarmNode = info.swarmNode
  core.engine.leader = info.leader
  const { name, swarmNode, zone } = core.engine
  const facts = { name, swarmNode, zone }
  const { engineFacts, log } = core.parts
  if (isDeepStrictEqual(facts, engineFacts.get())) return
  await engineFacts.set(facts).catch((error: unknown) => log.debug({ err: error }, 'could not note the host name'))
}

/** Holds without uses are released, mounts without holds unmounted, lost mounts mounted again, lost Unmounts noticed. */
async function settleLocal(core: Context): Promise<void> {
  const { store } = core.parts
  const { copies, damaged } = await store.copies()
  core.troubles.noteUnreadable(new Map(damaged.map(({ path, reason }) => [basename(path), reason])))
  const mounted = await store.mounted()
  await forEachVolume(copies, async (copy) => {
    if (copy.held === null) {
      if (mounted.has(copy.id)) await core.locks.run(copy.id, () => unmountIdle(core, copy.id))
    } else if (isUnused(core, copy)) {
      void releaseIfUnused(core, copy.id)
    } else {
      await settleMounted(core, copy, mounted.has(copy.id))
    }
  })
}

/**
 * Learns which held volumes others could take over, and puts aside trees that the cluster did not go on from. A hold
 * that was confirmed and that the record says is over is given up, however that came about: no epoch above ours can
 * begin while we hold.
 */
async function compareCopies(core: Context): Promise<void> {
  const { store, registry, self } = core.parts
  await forEachVolume((await store.copies()).copies, async (copy) => {
    const record = (await registry.volume(copy.name))?.value
    if (record?.id !== copy.id) return
    if (copy.held === null) {
      await settleDiverged(core, copy, record)
      await settleDamage(core, copy, record)
    } else if (record.epoch > copy.held.epoch) dropConfirmed(core, copy.id, copy.held.incarnation)
    else if (record.holder?.incarnation === copy.held.incarnation) core.guarding.learn(record, self.id)
  })
}

/** From here on only a write can tell what becomes of the hold; the next round asks for it. */
function dropConfirmed(core: Context, id: string, incarnation: string): void {
  if (core.confirmed.get(id)?.incarnation !== incarnation) return
  core.confirmed.delete(id)
  core.parts.log.error({ id }, 'the record says that a volume in use here has gone on elsewhere')
  core.wakes.wake(RECONCILE)
}

async function unmountIdle(core: Context, id: string): Promise<void> {
  if ((await core.parts.store.copy(id))?.held === null) await core.parts.store.unmount(id)
}

async function settleMounted(core: Context, copy: LocalCopy, isMounted: boolean): Promise<void> {
  const { store } = core.parts
  if (core.uses.failure() !== null) return
  if (!isMounted && core.uses.live(copy.name).length > 0) {
    await core.locks.run(copy.id, async () => {
      const local = await store.copy(copy.id)
      if (local === null || local.held === null) return
      // A hold that no write has confirmed may be lost. `confirmHolds` asks, but not for what was surrendered.
      const isSure = core.confirmed.get(copy.id)?.incarnation === local.held.incarnation
      if (!isSure && !(core.surrendered.has(copy.id) && (await confirmHold(core, local)) === 'held')) return
      core.surrendered.delete(copy.id)
      await store.mount(copy.id)
    })
    return
  }
  await dropEndedUses(core, copy, isMounted)
}

/** Removals that some host began and did not live to finish. */
async function finishRemovals(core: Context): Promise<void> {
  const { registry, signal, clock } = core.parts
  const removed = (await registry.volumes()).filter(({ value }) => value.removedAt !== null)
  await forEachVolume(removed, async ({ value }) => {
    await finishRemoval(core, value, AbortSignal.any([signal, clock.deadline(ROUND_LIMIT_MS)]))
  })
}
