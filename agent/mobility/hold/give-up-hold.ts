import { codeOf } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Capture, LocalCopy } from '../../store/contract.ts'
import { errnoOf, isDiskFailure } from '../../sys/failure.ts'
import { isSurrendered, isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { forEachVolume, paceOf } from '../for-each-volume.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { besideCheckpoint, isEmptyTree, isForged, isLeftBehind, NO_CHECKPOINT, withCopy } from '../record/copies.ts'
import { isInLine } from '../record/lineage.ts'
import { changeVolume, readVolume } from '../record/update-record.ts'
import { confirmHold, retractHold } from './confirm-hold.ts'
import { recordLost } from './errors.ts'

/** Bound of the registry work for one volume; the reconcile loop repeats it. */
const REGISTRY_MS = 20_000
/** A killed container is gone within milliseconds; an engine under load takes longer. */
const EXIT_POLL_MS = 100
const EXIT_WAIT_MS = 10_000

/**
 * Gives up a hold after another host has taken the volume over. Runs under the volume's lock.
 * Its containers are killed, and the tree is unmounted and kept. A tree that is a checkpoint of the volume's line
 * becomes a copy that is behind. One with other writes is set aside as diverged, and announced (promise 7).
 * May be repeated after any failure. Rejects ENGINE_UNREACHABLE, REGISTRY_UNAVAILABLE and errors of the disk.
 */
export async function giveUpHold(
  context: Pick<
    Context,
    'dependencies' | 'hosts' | 'checkpointScheduler' | 'containerUses' | 'confirmed' | 'surrendered' | 'endedUses'
  >,
  local: LocalCopy,
): Promise<void> {
  const { store, log } = context.dependencies
  context.confirmed.delete(local.id)
  log.error(
    { volume: local.name, id: local.id, epoch: local.held?.epoch },
    'volume was taken over while this host was away: containers killed',
  )
  await endContainers(context, local)
  await context.checkpointScheduler.stop(local.id)
  await store.unmount(local.id)
  const found = await captureOrNull(context, local)
  const record = await recordOf(context, local)
  // Read again: a checkpoint that was running may have been committed before it was stopped.
  const now = (await store.copy(local.id)) ?? local
  const kept = found === null ? null : checkpointGoneOnFrom(record, now, found)
  if (kept !== null) await store.update(local.id, { held: null, mounts: {}, checkpoint: kept })
  else await setTreeAside(context, record, local, found?.bytes ?? null)
  context.surrendered.delete(local.id)
  context.endedUses.delete(local.id)
}

/**
 * Null: the tree cannot be captured or read.
 * Then nobody can tell what it is, and it is kept as it is (promise 7).
 */
async function captureOrNull(context: Pick<Context, 'dependencies'>, local: LocalCopy): Promise<Capture | null> {
  try {
    return await context.dependencies.store.capture(local.id, 'quiet', context.dependencies.signal)
  } catch (error) {
    if (codeOf(error) !== 'TREE_UNSUPPORTED' && !isDiskFailure(errnoOf(error))) throw error
    context.dependencies.log.warn({ err: error, volume: local.name }, 'tree unreadable: set aside as it is')
    return null
  }
}

/**
 * Returns the checkpoint that the tree is and that the cluster continued from; null: it is none.
 * A takeover may have started from a tree that this disk does not know as a checkpoint.
 */
function checkpointGoneOnFrom(record: VolumeRecord, { checkpoint }: LocalCopy, found: Capture): Checkpoint | null {
  if (checkpoint !== null && isSameTree(checkpoint, found) && isInLine(record, checkpoint)) return checkpoint
  const base = record.seizures.findLast((seizure) => isSameTree(seizure.base, found))
  if (base === undefined || !isInLine(record, base.base)) return null
  return { ...base.base, at: base.at, bytes: found.bytes, files: found.files }
}

/**
 * Sets an idle copy aside whose checkpoint is not in the volume's line.
 * The volume was taken over while this host was away, or the checkpoint never belonged to it. A stale record does no
 * harm: neither a takeover nor the name of a checkpoint is ever removed from it.
 */
export async function setAsideDiverged(
  context: Pick<Context, 'dependencies' | 'locks'>,
  local: LocalCopy,
  record: VolumeRecord,
): Promise<void> {
  const { checkpoint } = local
  if (local.held !== null || checkpoint === null || local.applying || record.id !== local.id) return
  const isNone = isForged(local) && !isInLine(record, checkpoint)
  if (isNone || isLeftBehind(record, checkpoint)) await restartCopy(context, local, record)
}

/**
 * Makes room for a fresh copy: sets the idle tree aside, or drops it unannounced when it is empty.
 * May be repeated.
 */
export async function restartCopy(
  context: Pick<Context, 'dependencies' | 'locks'>,
  local: LocalCopy,
  record: VolumeRecord,
): Promise<void> {
  const { store, log } = context.dependencies
  const { checkpoint } = local
  if (checkpoint === null) return
  await context.locks.run(local.id, async () => {
    const now = await store.copy(local.id)
    if (now === null || now.held !== null || now.applying || !isSameTree(now.checkpoint, checkpoint)) return
    if (!isEmptyTree(checkpoint)) return await setTreeAside(context, record, now, checkpoint.bytes)
    await store.update(local.id, { checkpoint: null })
    log.info({ volume: local.name, id: local.id }, 'empty tree without a checkpoint dropped')
    await reportRestart(context, record, context.dependencies.clock.now().toISOString())
  })
}

/** Confirms holds that no write has confirmed since the agent started, or since its lease expired. */
export async function confirmHolds(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'lease'
    | 'guardedVolumes'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'confirmed'
    | 'releasing'
    | 'surrendered'
    | 'endedUses'
    | 'volumeTroubles'
  >,
): Promise<void> {
  // Under an expired lease a confirmation proves nothing a moment later.
  if (!context.lease.runs) return
  const confirm = async (copy: LocalCopy) => {
    if (copy.held === null || context.confirmed.has(copy.id) || context.releasing.has(copy.id)) return
    // A hold without uses is settled by its release, at the release's pace.
    if (isUnused(context, copy) || isSurrendered(context, copy.id)) return
    await context.locks.run(copy.id, async () => {
      const local = await context.dependencies.store.copy(copy.id)
      if (local === null || local.held === null || context.confirmed.has(copy.id)) return
      const state = await confirmHold(context, local)
      if (state === 'lost') await giveUpHold(context, local)
      else if (state === 'unborn') await retractHold(context, local)
      // A Mount or a release that was cut off: Docker got no reply, or has no use any more. The release settles it.
      else if (state !== 'held') await context.dependencies.store.update(copy.id, { mounts: {} })
    })
  }
  const { copies } = await context.dependencies.store.copies()
  await forEachVolume(copies, confirm, paceOf(context, 'confirm the hold'))
  await context.guardedVolumes.tell()
}

/** Kills all containers that have a volume of this name, and waits until they are gone. */
export async function endContainers(
  context: Pick<Context, 'dependencies' | 'containerUses'>,
  local: LocalCopy,
): Promise<void> {
  const { clock, signal, engine, pauses } = context.dependencies
  const endMs = clock.elapsedMs() + EXIT_WAIT_MS
  for (;;) {
    await context.containerUses.refresh()
    const live = context.containerUses.liveContainers(local.name)
    if (live.length === 0) break
    await pauses.kill((pause) => pause.volumes.includes(local.id))
    for (const { id } of live) await engine.kill(id)
    if (clock.elapsedMs() > endMs) throw new Error(`containers of volume ${local.name} cannot be ended`)
    await clock.sleep(EXIT_POLL_MS, signal)
    signal.throwIfAborted()
  }
  await pauses.kill((pause) => pause.volumes.includes(local.id))
}

/** Sets a tree aside and makes room for a fresh copy. */
async function setTreeAside(
  context: Pick<Context, 'dependencies'>,
  record: VolumeRecord,
  local: LocalCopy,
  bytes: number | null,
): Promise<void> {
  const { store, clock, self, log, bus } = context.dependencies
  const at = clock.now().toISOString()
  const { diverged } = await store.diverge(local.id, at, bytes)
  const tree = diverged.at(-1)
  log.error(
    { volume: local.name, id: local.id, epoch: tree?.epoch, base: tree?.base, directory: tree?.name },
    'diverged copy kept with writes that the cluster never got: copy out what you need and delete it',
  )
  bus.publish(`volume.${local.id}.diverged`, { ...tree, name: local.name, host: self.id, directory: tree?.name })
  await reportRestart(context, record, at)
}

/** Tells the registry that the tree is gone from here: this host's copy restarts. */
async function reportRestart(context: Pick<Context, 'dependencies'>, record: VolumeRecord, at: string): Promise<void> {
  const { clock, self, log, signal } = context.dependencies
  const limit = AbortSignal.any([signal, clock.deadline(REGISTRY_MS)])
  const change = (now: VolumeRecord | null) => {
    const mine = now?.id === record.id ? now.copies[self.id] : undefined
    if (now === null || mine === undefined || now.holder?.host === self.id) return now
    return mine.state === 'filling' && mine.seq === 0
      ? now
      : withCopy(now, self.id, { ...besideCheckpoint(mine), ...NO_CHECKPOINT, state: 'filling', at, kept: mine.kept })
  }
  await changeVolume(context.dependencies, record.name, change, limit).catch((error: unknown) => {
    if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') throw error
    log.warn({ err: error, volume: record.name }, 'restart of a copy not reported yet')
  })
}

async function recordOf(context: Pick<Context, 'dependencies' | 'hosts'>, local: LocalCopy): Promise<VolumeRecord> {
  const { clock, signal } = context.dependencies
  const limit = AbortSignal.any([signal, clock.deadline(REGISTRY_MS)])
  const record = (await readVolume(context.dependencies, local.name, limit))?.value
  if (record?.id === local.id) return record
  throw recordLost(local, ownLabel(context))
}
