import { codeOf } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Capture, LocalCopy } from '../../store/contract.ts'
import { NO_USE_MARKS } from '../../store/disk/new-copy.ts'
import { finalTree, isSurrendered, isUnused, nextSeq } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree, keepKnown } from '../record/checkpoint-order.ts'
import { copiesAfter, isOnlyIntended } from '../record/copies.ts'
import { markOf } from '../record/record-mark.ts'
import { changeVolume } from '../record/update-record.ts'
import { confirmHold, hasMovedOn, retractHold } from './confirm-hold.ts'
import { copyGone, recordLost } from './errors.ts'
import { giveUpHold } from './give-up-hold.ts'

/**
 * Docker sends Unmount a moment before its list shows the container as exited.
 * After this it really runs.
 */
const EXIT_WAIT_MS = 10_000
const EXIT_POLL_MS = 100
/** A writer that outlives its container (a lazy flush, a debugger) gets this many chances to end. */
const CAPTURE_TRIES = 5
const CAPTURE_RETRY_MS = 1_000
/**
 * One attempt to write the release to the registry.
 * The reconcile loop retries for as long as it takes.
 */
const COMMIT_MS = 60_000

/**
 * Gives a volume up when nothing on this host uses it.
 * Unmounts it, takes the final checkpoint of the quiet tree, and commits that to this disk and then to the registry.
 * Never rejects: a failure is noted (ReleaseTroubles), the volume stays held, and the reconcile loop calls again.
 * Nothing is done before the next try is due. `asked`: somebody waits for the volume.
 * May be repeated at any time, also after a crash at any point of it.
 */
export async function releaseIfUnused(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'wakeups'
    | 'guardedVolumes'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'liveCaptures'
    | 'releaseTroubles'
    | 'stateDisk'
    | 'pendingMounts'
    | 'confirmed'
    | 'releasing'
    | 'surrendered'
    | 'givenSeqs'
    | 'endedUses'
  >,
  id: string,
  asked = false,
): Promise<void> {
  const { log, clock, signal } = context.dependencies
  if (context.releasing.has(id) || !context.releaseTroubles.isDue(id, asked) || isSurrendered(context, id)) return
  context.releasing.add(id)
  const startMs = clock.elapsedMs()
  try {
    await context.locks.run(id, () => releaseLocked(context, id))
    context.releaseTroubles.clear(id)
  } catch (error) {
    if (signal.aborted) return
    context.stateDisk.suspect(error)
    const local = await context.dependencies.store.copy(id).catch(() => undefined)
    // An outage ends by itself, and the release must not wait longer then.
    if (codeOf(error) === 'REGISTRY_UNAVAILABLE') log.warn({ err: error, id }, 'release failed: registry unavailable')
    else if (local !== null) context.releaseTroubles.note({ id, name: local?.name ?? id }, error, startMs)
  } finally {
    context.releasing.delete(id)
  }
}

async function releaseLocked(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'wakeups'
    | 'guardedVolumes'
    | 'checkpointScheduler'
    | 'containerUses'
    | 'liveCaptures'
    | 'pendingMounts'
    | 'confirmed'
    | 'surrendered'
    | 'givenSeqs'
    | 'endedUses'
  >,
  id: string,
): Promise<void> {
  const { store, log, bus, self } = context.dependencies
  const local = await store.copy(id)
  if (local === null || local.held === null || !isUnused(context, local)) return
  // The next container is about to start: a confirmed hold is handed on without a checkpoint in between.
  if (context.pendingMounts.has(local.name) && context.confirmed.has(id)) return
  void context.liveCaptures.end(id)
  await context.checkpointScheduler.stop(id)
  if (!(await awaitExit(context, local))) return await noteUses(context, local)
  // A hold that never began is not captured: its epoch, and so the names of its checkpoints, belong to another
  // holder.
  if (isOnlyIntended(local)) {
    await store.unmount(id)
    if ((await confirmHold(context, local)) === 'unborn') return await retractHold(context, local)
  }
  const found = await captureUnmounted(context, local)
  if (found === 'lost') return await giveUpHold(context, local)
  const final = await nextCheckpoint(context, local, found)
  // If the hold is lost, this tree is no checkpoint of the volume: confirm it before saying so.
  const state = await confirmHold(context, local)
  if (state === 'lost') return await giveUpHold(context, local)
  if (state === 'unborn') return await retractHold(context, local)
  if (state !== 'released') {
    await store.update(id, { checkpoint: final })
    // From here on only another write can tell whether this host still holds the volume.
    context.confirmed.delete(id)
    if ((await commitRelease(context, local, local.held, final)) === 'lost') return
  }
  context.confirmed.delete(id)
  const recordSeen = markOf({ epoch: local.held.epoch, holder: null, last: final }, local.recordSeen)
  await store.update(id, { held: null, mounts: {}, recordSeen })
  log.info({ volume: local.name, id, epoch: final.epoch, seq: final.seq, bytes: final.bytes }, 'released')
  bus.publish(`volume.${id}.released`, { name: local.name, host: self.id, epoch: local.held.epoch, seq: final.seq })
  context.wakeups.wake(local.name)
}

/**
 * Adds a use for each running container whatever Docker's calls add up to.
 * An Unmount may have been counted twice.
 * Without one the volume would be neither released nor kept by checkpoints. The use is dropped as one whose Unmount
 * never came.
 */
async function noteUses(
  context: Pick<Context, 'dependencies' | 'containerUses' | 'pendingMounts' | 'endedUses'>,
  local: LocalCopy,
): Promise<void> {
  const live = context.containerUses.liveContainers(local.name)
  if (live.length > 0) context.endedUses.delete(local.id)
  if (Object.keys(local.mounts).length > 0) return
  if (live.length === 0 || context.pendingMounts.has(local.name) || context.dependencies.signal.aborted) return
  const mounts = Object.fromEntries(live.map(({ id }) => [`container ${id}`, 1]))
  await context.dependencies.store.update(local.id, { mounts, uses: NO_USE_MARKS })
}

/**
 * Waits until the engine shows no container that may write.
 * False: one runs although Docker unmounted, or a Mount waits.
 */
async function awaitExit(
  context: Pick<Context, 'dependencies' | 'containerUses' | 'pendingMounts'>,
  local: LocalCopy,
): Promise<boolean> {
  const { clock, log, signal } = context.dependencies
  const endMs = clock.elapsedMs() + EXIT_WAIT_MS
  for (;;) {
    try {
      await context.containerUses.refresh()
    } catch (error) {
      // By Docker's own calls there is no use; an engine that is away cannot say otherwise.
      if (codeOf(error) === 'ENGINE_UNREACHABLE') return true
      throw error
    }
    const live = context.containerUses.writing(local.name)
    if (live.length === 0) return true
    if (signal.aborted || context.pendingMounts.has(local.name)) return false
    if (clock.elapsedMs() > endMs) {
      log.error(
        { volume: local.name, containers: live },
        'Docker unmounted the volume, but containers with it still run; it stays held',
      )
      return false
    }
    await clock.sleep(EXIT_POLL_MS, signal)
  }
}

/**
 * Captures the unmounted tree.
 * `lost`: that failed, and another host has taken the volume over: nobody waits for the checkpoint.
 */
async function captureUnmounted(context: Pick<Context, 'dependencies'>, local: LocalCopy): Promise<Capture | 'lost'> {
  try {
    await context.dependencies.store.unmount(local.id)
    return await captureQuiet(context, local.id)
  } catch (error) {
    if (context.dependencies.signal.aborted) throw error
    // While nobody can tell, the release fails for its first reason, and is tried again.
    const isLost = await hasMovedOn(context.dependencies, local).catch(() => false)
    if (!isLost) throw error
    return 'lost'
  }
}

async function captureQuiet(context: Pick<Context, 'dependencies'>, id: string): Promise<Capture> {
  for (let tries = 1; ; tries++) {
    try {
      return await context.dependencies.store.capture(id, 'quiet', context.dependencies.signal)
    } catch (error) {
      if (codeOf(error) !== 'TREE_CHANGED' || tries >= CAPTURE_TRIES) throw error
      await context.dependencies.clock.sleep(CAPTURE_RETRY_MS, context.dependencies.signal)
    }
  }
}

/**
 * Returns the checkpoint that a quiet tree becomes.
 * An unchanged tree keeps its checkpoint, so that copies elsewhere stay current.
 * The copy is read again: a checkpoint that was committed when the volume was stopped has taken the next number.
 */
export async function nextCheckpoint(
  context: Pick<Context, 'dependencies' | 'surrendered' | 'givenSeqs'>,
  { id, name }: LocalCopy,
  found: Capture,
): Promise<Checkpoint> {
  const local = await context.dependencies.store.copy(id)
  if (local === null) throw copyGone(name)
  if (local.checkpoint !== null && isSameTree(local.checkpoint, found)) return local.checkpoint
  const given = finalTree(context, local)
  if (given !== null && isSameTree(given, found)) return given
  return {
    epoch: local.held?.epoch ?? local.epochSeen,
    seq: nextSeq(context, local),
    hash: found.hash,
    at: context.dependencies.clock.now().toISOString(),
    bytes: found.bytes,
    files: found.files,
  }
}

/**
 * Writes the release to the registry.
 * `lost`: another host has just taken the volume over; the next release settles it.
 */
async function commitRelease(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  local: LocalCopy,
  held: { epoch: number; incarnation: string },
  final: Checkpoint,
): Promise<'released' | 'lost'> {
  const { self, clock, signal } = context.dependencies
  let outcome: 'released' | 'lost' = 'released'
  const change = (record: VolumeRecord | null): VolumeRecord => {
    outcome = 'released'
    if (record === null || record.id !== local.id) throw recordLost(local, ownLabel(context))
    if (record.holder?.incarnation === held.incarnation) {
      const last = keepKnown(record.last, final)
      return { ...record, holder: null, last, copies: copiesAfter(record, self.id, final) }
    }
    // Either the read is stale or the hold never reached the registry. A write decides: it can only succeed in the
    // second case.
    if (record.epoch < held.epoch) return { ...record }
    // An earlier, unacknowledged try has released it.
    if (record.epoch === held.epoch && record.holder === null) return record
    outcome = 'lost'
    return record
  }
  await changeVolume(context.dependencies, local.name, change, AbortSignal.any([signal, clock.deadline(COMMIT_MS)]))
  return outcome
}
