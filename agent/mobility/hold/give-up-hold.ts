import { codeOf } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Capture, LocalCopy } from '../../store/contract.ts'
import { errnoOf, isDiskFailure } from '../../sys/failure.ts'
import { isSurrendered, isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { forEachVolume } from '../for-each-volume.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { isEmptyTree, isForged, isLeftBehind, NO_CHECKPOINT, withCopy } from '../record/copies.ts'
import { isInLine } from '../record/lineage.ts'
import { changeVolume, readVolume } from '../record/update-record.ts'
import { confirmHold, takeBack } from './confirm-hold.ts'
import { recordLost } from './errors.ts'

/** Bound of the registry work for one volume; housekeeping comes back to it. */
const REGISTRY_MS = 20_000
/** A killed container is gone within milliseconds; an engine under load takes longer. */
const EXIT_LOOK_MS = 100
const EXIT_WAIT_MS = 10_000

/**
 * What becomes of a hold that the cluster has gone on without: its containers are ended, the tree leaves the mount, and what it has is kept. A tree that is a
 * checkpoint of the volume's line becomes a copy that is behind; one with other writes is put aside as diverged, and announced (promise 7). Runs under the volume's lock.
 * May be repeated after any failure. Rejects ENGINE_UNREACHABLE, REGISTRY_UNAVAILABLE and what the disk answers.
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
    'the volume has gone on elsewhere while this host was away: its containers here are ended',
  )
  await endContainers(context, local)
  await context.checkpointScheduler.stop(local.id)
  await store.unmount(local.id)
  const found = await captureOrNull(context, local)
  const record = await recordOf(context, local)
  // As it is now: a checkpoint that was under way may have been committed before it could be stopped.
  const now = (await store.copy(local.id)) ?? local
  const kept = found === null ? null : checkpointGoneOnFrom(record, now, found)
  if (kept !== null) await store.update(local.id, { held: null, mounts: {}, checkpoint: kept })
  else await putAside(context, record, local, found?.bytes ?? null)
  context.surrendered.delete(local.id)
  context.endedUses.delete(local.id)
}

/**
 * Null: the tree is none that can be captured, or cannot be read. Then nobody can tell what it is, and it is kept as it
 * is (promise 7).
 */
async function captureOrNull(context: Pick<Context, 'dependencies'>, local: LocalCopy): Promise<Capture | null> {
  try {
    return await context.dependencies.store.capture(local.id, 'quiet', context.dependencies.signal)
  } catch (error) {
    if (codeOf(error) !== 'TREE_UNSUPPORTED' && !isDiskFailure(errnoOf(error))) throw error
    context.dependencies.log.warn(
      { err: error, volume: local.name },
      'the tree cannot be compared: it is put aside as it is',
    )
    return null
  }
}

/**
 * The checkpoint that the tree is and that the cluster went on from; null: it is none. A take-over may have been from a
 * tree that this disk was never told of as a checkpoint.
 */
function checkpointGoneOnFrom(record: VolumeRecord, { checkpoint }: LocalCopy, found: Capture): Checkpoint | null {
  if (checkpoint !== null && isSameTree(checkpoint, found) && isInLine(record, checkpoint)) return checkpoint
  const base = record.seizures.findLast((seizure) => isSameTree(seizure.base, found))
  if (base === undefined || !isInLine(record, base.base)) return null
  return { ...base.base, at: base.at, bytes: found.bytes, files: found.files }
}

/**
 * Copies at rest whose checkpoint the cluster did not go on from, because it was taken over while this host was away, or whose checkpoint is none of the
 * volume's. A stale reading of the record does no harm: neither a seizure nor the name of a checkpoint ever goes away again.
 */
export async function settleDiverged(
  context: Pick<Context, 'dependencies' | 'locks'>,
  local: LocalCopy,
  record: VolumeRecord,
): Promise<void> {
  const { checkpoint } = local
  if (local.held !== null || checkpoint === null || local.applying || record.id !== local.id) return
  const isNone = isForged(local) && !isInLine(record, checkpoint)
  if (isNone || isLeftBehind(record, checkpoint)) await beginAnew(context, local, record)
}

/** Makes room for a fresh copy at rest: what the tree has is put aside, and nothing announced when it has nothing. May be repeated. */
export async function beginAnew(
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
    if (!isEmptyTree(checkpoint)) return await putAside(context, record, now, checkpoint.bytes)
    await store.update(local.id, { checkpoint: null })
    log.info({ volume: local.name, id: local.id }, 'an empty tree that is no checkpoint of the volume was forgotten')
    await tellBegun(context, record, context.dependencies.clock.now().toISOString())
  })
}

/** Confirms holds of this host that no write has confirmed since the agent started, or since its lease was over. */
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
  >,
): Promise<void> {
  // Under a lease that is over nothing is sure a moment later.
  if (!context.lease.runs) return
  await forEachVolume((await context.dependencies.store.copies()).copies, async (copy) => {
    if (copy.held === null || context.confirmed.has(copy.id) || context.releasing.has(copy.id)) return
    // What is not used is settled by its release, at the pace of that.
    if (isUnused(context, copy) || isSurrendered(context, copy.id)) return
    await context.locks.run(copy.id, async () => {
      const local = await context.dependencies.store.copy(copy.id)
      if (local === null || local.held === null || context.confirmed.has(copy.id)) return
      const answer = await confirmHold(context, local)
      if (answer === 'lost') await giveUpHold(context, local)
      else if (answer === 'unborn') await takeBack(context, local)
      // A Mount that died half way, or a release: Docker never got an answer, or has no use any more, and the release settles it.
      else if (answer !== 'held') await context.dependencies.store.update(copy.id, { mounts: {} })
    })
  })
  await context.guardedVolumes.tell()
}

/** Ends all containers that have a volume of this name, and waits until they are gone. */
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
    await clock.sleep(EXIT_LOOK_MS, signal)
    signal.throwIfAborted()
  }
  await pauses.kill((pause) => pause.volumes.includes(local.id))
}

/** Puts a tree aside and makes room for a fresh copy. */
async function putAside(
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
    'writes that never reached the cluster are kept as a diverged copy; look at them, then remove them',
  )
  bus.publish(`volume.${local.id}.diverged`, { name: local.name, host: self.id, ...tree })
  await tellBegun(context, record, at)
}

/** Tells the registry that the tree is gone from here: this host's copy begins anew. */
async function tellBegun(context: Pick<Context, 'dependencies'>, record: VolumeRecord, at: string): Promise<void> {
  const { clock, self, log, signal } = context.dependencies
  const limit = AbortSignal.any([signal, clock.deadline(REGISTRY_MS)])
  const change = (now: VolumeRecord | null) => {
    const mine = now?.id === record.id ? now.copies[self.id] : undefined
    if (now === null || mine === undefined || now.holder?.host === self.id) return now
    return mine.state === 'filling' && mine.seq === 0
      ? now
      : withCopy(now, self.id, { ...NO_CHECKPOINT, state: 'filling', at, kept: mine.kept })
  }
  await changeVolume(context.dependencies, record.name, change, limit).catch((error: unknown) => {
    if (codeOf(error) !== 'REGISTRY_UNAVAILABLE') throw error
    log.warn({ err: error, volume: record.name }, 'the registry was not told yet that a copy begins anew')
  })
}

async function recordOf(context: Pick<Context, 'dependencies' | 'hosts'>, local: LocalCopy): Promise<VolumeRecord> {
  const { clock, signal } = context.dependencies
  const limit = AbortSignal.any([signal, clock.deadline(REGISTRY_MS)])
  const record = (await readVolume(context.dependencies, local.name, limit))?.value
  if (record?.id === local.id) return record
  throw recordLost(local, ownLabel(context))
}
