import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import type { RunningCopy } from '../copy-contract.ts'
import {
  changedHands,
  checkRunning,
  copyRunning,
  heldElsewhere,
  leaseLost,
  notFound,
  releaseFailed,
  stillReleasing,
} from '../errors.ts'
import { isTakeOverReady, weighTakeOver } from '../failover/takeover.ts'
import { orderOf } from '../record/checkpoint-order.ts'
import { isAt } from '../record/copies.ts'
import { readVolume } from '../record/update-record.ts'
import { tellDamaged } from '../replication/damaged-copies.ts'
import { stuckAt } from '../trouble.ts'
import { attach, detach, holdAndMount } from './hold.ts'
import { askHolder } from './surrender.ts'

/** How often a waiting Mount looks again when no wake comes. */
const LOOK_MS = 300
/** A copy that a Mount asked for goes on this long after the Mount gave up, so that the next one joins it. */
export const WANTED_AFTER_MOUNT_MS = 10 * 60_000
/** A holder that cannot release is asked to try again this often. */
const STUCK_ASK_EVERY_MS = 2_000
/** A release that takes longer than a holder waits for it (surrender.ts) is still answered. */
const STUCK_ANSWER_MS = 4_000
/** It reads its whole tree meanwhile; a service waits. */
const LEFT_ANSWER_MS = 30_000
/**
 * A holder that has said for so long that it cannot release will not: what ends by itself (a writer that outlives its
 * container) has ended.
 */
const STUCK_FOR_MS = 5_000
/** For so long a Mount of what is held here waits for the registry to say that the volume was removed. */
const REMOVED_ANSWER_MS = 300
/** Docker closes its side at the deadline: the answer has to be on its way before. */
const ANSWER_MARGIN_MS = 250

interface Attempt {
  readonly name: string
  readonly mountId: string
  readonly deadlineMs: number
  readonly signal: AbortSignal
  /** The copy this Mount waits for. */
  job: RunningCopy | null
  /** Since when the holder has said that it cannot release, and when it was asked last; null: it has not. */
  stuck: { readonly sinceMs: number; readonly askedMs: number } | null
  /** What a holder that cannot write its disk has left; null: nothing that can be had; undefined: it was not asked. */
  left: Checkpoint | null | undefined
}

/**
 * Mounts a volume for one use (`mountId`). Waits for the holder's release and for the data until the deadline; what was
 * begun goes on after it, and the next Mount joins it (promise 9). On return the hold is committed in the registry, the
 * epoch synced to this disk, the tree bind-mounted and the use written down. May be repeated; each call counts one use.
 */
export async function mountVolume(
  context: Context,
  name: string,
  mountId: string,
  deadlineMs: number,
): Promise<string> {
  const { clock, signal: ending } = context.dependencies
  const limitMs = Math.max(deadlineMs - ANSWER_MARGIN_MS, deadlineMs / 2)
  const signal = AbortSignal.any([ending, clock.deadline(limitMs)])
  const attempt: Attempt = { name, mountId, deadlineMs, signal, job: null, stuck: null, left: undefined }
  context.pendingMounts.set(name, (context.pendingMounts.get(name) ?? 0) + 1)
  try {
    return await tryUntilDeadline(context, attempt)
  } finally {
    const left = (context.pendingMounts.get(name) ?? 1) - 1
    if (left === 0) context.pendingMounts.delete(name)
    else context.pendingMounts.set(name, left)
  }
}

async function tryUntilDeadline(context: Context, attempt: Attempt): Promise<string> {
  const { name, signal } = attempt
  let refusal: Error | null = null
  while (!signal.aborted) {
    const step = await tryMount(context, attempt).catch((error: unknown) => {
      if (signal.aborted && refusal !== null && codeOf(error) === 'REGISTRY_UNAVAILABLE') return refusal
      throw error
    })
    if (typeof step === 'string') return step
    if (step.message !== refusal?.message)
      context.dependencies.log.debug({ volume: name, why: step.message }, 'a mount waits')
    refusal = step
    await context.wakeups.wait(name, (until) => context.dependencies.clock.sleep(LOOK_MS, until), signal)
  }
  throw (
    refusal ?? new WherryError('REGISTRY_UNAVAILABLE', `The registry did not answer about volume "${name}" in time.`)
  )
}

/** One look: the mountpoint, or the reason why not yet. Throws what waiting cannot mend. */
async function tryMount(context: Context, attempt: Attempt): Promise<string | WherryError> {
  const { name, deadlineMs, signal } = attempt
  const known = await mountConfirmed(context, attempt)
  if (known !== null) return known
  const entry = await readVolume(context.dependencies, name, signal)
  if (entry === null || entry.value.removedAt !== null) throw notFound(name)
  const record = entry.value
  if (record.holder !== null && record.holder.host !== context.dependencies.self.id) {
    if (!context.hosts.alive(record.holder.host)) return takeOver(context, attempt, entry)
    // While a hold that was lost stands on this disk nothing is brought here: a job would end at once, and its end wake
    // this Mount.
    if (((await context.dependencies.store.copy(record.id))?.held ?? null) === null)
      context.copyManager.want(record, deadlineMs)
    return await awaitRelease(context, attempt, record, record.holder.host)
  }
  const local = await context.dependencies.store.copy(record.id)
  const settled = record.holder !== null || record.last === null || (local !== null && local.held !== null)
  if (!settled && !isAt(local, record.last)) return awaitCopy(context, attempt, record)
  const verifiedHash = settled ? null : await verify(context, record, signal)
  if (verifiedHash instanceof WherryError) return verifiedHash
  return withinDeadline(context, record, signal, () =>
    holdAndMount(context, entry, attempt.mountId, verifiedHash, signal),
  )
}

/**
 * Why the holder has not released the volume yet. One that says that it cannot is asked to try once more; when it says
 * so again after some seconds, waiting is no use, and this throws RELEASE_FAILED with the reason.
 */
async function awaitRelease(
  context: Context,
  attempt: Attempt,
  record: VolumeRecord,
  host: string,
): Promise<WherryError> {
  const trouble = stuckAt(context, host, record)
  if (trouble === null) {
    attempt.stuck = null
    return heldElsewhere(context, record)
  }
  // Nobody knows whether it is used there; when that host falls silent, the volume is taken over as any other.
  if (trouble.code === 'COPY_DAMAGED') return releaseFailed(context, record, trouble)
  const { clock } = context.dependencies
  const nowMs = clock.elapsedMs()
  attempt.stuck ??= { sinceMs: nowMs, askedMs: Number.NEGATIVE_INFINITY }
  const { sinceMs, askedMs } = attempt.stuck
  if (nowMs - askedMs >= STUCK_ASK_EVERY_MS) {
    attempt.stuck = { sinceMs, askedMs: nowMs }
    const inTime = AbortSignal.any([attempt.signal, clock.deadline(STUCK_ANSWER_MS)])
    const answer = await askHolder(context, record, 'release', inTime)
    if (answer?.outcome === 'idle') return changedHands(record.name)
    if (answer?.outcome === 'stuck' && answer.trouble === null) {
      // It is being released: its time begins anew should that fail.
      attempt.stuck = { sinceMs: clock.elapsedMs(), askedMs: nowMs }
      return heldElsewhere(context, record)
    }
  }
  const refusal = releaseFailed(context, record, trouble)
  if (clock.elapsedMs() - sinceMs >= STUCK_FOR_MS) throw refusal
  return refusal
}

/** A further use of a volume that this host holds for certain needs no registry. */
async function mountConfirmed(context: Context, attempt: Attempt): Promise<string | WherryError | null> {
  for (const [id, hold] of context.confirmed) {
    if (hold.name !== attempt.name || (await isRemoved(context, { id, name: hold.name }, attempt.signal))) continue
    return withinDeadline(context, { id, name: hold.name }, attempt.signal, async () => {
      const local = await context.dependencies.store.copy(id)
      if (local?.held == null || local.held.incarnation !== context.confirmed.get(id)?.incarnation) return null
      // A new agent has confirmed holds before the first word to its watchdog, if the disk is slow.
      await context.guardedVolumes.ensure(local)
      if (context.guardedVolumes.isGuarded(local) && !context.lease.runs) return leaseLost(context, local.name)
      const mountpoint = await attach(context, local, attempt.mountId)
      // Others may have been found to have ended the lease meanwhile: whether it is still held here, only a write can
      // tell then.
      if (context.confirmed.get(id)?.incarnation === local.held.incarnation) return mountpoint
      await detach(context, id, attempt.mountId)
      return leaseLost(context, local.name)
    })
  }
  return null
}

/**
 * Whether the registry says that a volume held here was removed: the name may be that of another one by now. A registry
 * that does not answer soon, or knows nothing of either, says nothing.
 */
async function isRemoved(
  context: Context,
  held: Pick<VolumeRecord, 'id' | 'name'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { registry, clock } = context.dependencies
  const ask = async () => {
    const now = (await registry.volume(held.name))?.value
    if (now !== undefined) return now.id !== held.id || now.removedAt !== null
    return (await registry.removed()).some(({ value }) => value.id === held.id)
  }
  const inTime = AbortSignal.any([signal, clock.deadline(REMOVED_ANSWER_MS)])
  const asked = ask().catch(() => false)
  return (await nullOnAbort(asked, inTime)) ?? false
}

/** Starts or joins the copy; a copy that ended without success while this Mount waited for it is its end, too. */
function awaitCopy(context: Context, attempt: Attempt, record: VolumeRecord): WherryError {
  const failure = failureOf(attempt, record)
  if (failure !== null) throw failure
  attempt.job = context.copyManager.want(record, attempt.deadlineMs + WANTED_AFTER_MOUNT_MS)
  return copyRunning(context, record, attempt.job)
}

/** Why the copy that this Mount waits for has ended without the data. That of a volume that was removed meanwhile, and its name used again, says nothing. */
function failureOf({ job }: Attempt, { id }: VolumeRecord): Error | null {
  return job?.id === id ? job.failure() : null
}

/** The holder is silent: takes the volume over from it as soon as that is safe, with the best checkpoint that can be reached brought here first. */
async function takeOver(
  context: Context,
  attempt: Attempt,
  entry: Versioned<VolumeRecord>,
): Promise<string | WherryError> {
  const { name, mountId, deadlineMs, signal } = attempt
  const record = entry.value
  const weighed = await weighTakeOver(context, record, { person: false, loss: false }, signal)
  if (weighed instanceof WherryError) return weighed
  const left = await whatIsLeft(context, attempt, record)
  const isNewer = left !== null && orderOf(left, weighed.best) === 'newer'
  const found = isNewer ? { ...weighed, best: left, hosts: [] } : weighed
  const sources = isNewer && record.holder !== null ? [record.holder.host] : weighed.hosts
  const local = await context.dependencies.store.copy(record.id)
  if (local !== null && local.held !== null) return stillReleasing(context, name)
  if (!isTakeOverReady(local, found.best)) {
    const failure = failureOf(attempt, record)
    if (failure !== null && attempt.job !== null && isNewer) {
      // What is left cannot be had: from the next look on the newest checkpoint is gone on from.
      const refusal = copyRunning(context, record, attempt.job)
      attempt.left = null
      attempt.job = null
      return refusal
    }
    if (failure !== null) throw failure
    const wantedMs = deadlineMs + WANTED_AFTER_MOUNT_MS
    attempt.job = context.copyManager.wantCheckpoint(record, found.best, sources, isNewer ? 0 : wantedMs)
    return copyRunning(context, record, attempt.job)
  }
  const checked = await nullOnAbort(context.treeChecks.join(record.id), signal)
  if (checked === null) return checkRunning(context, record)
  if (checked.hash !== found.best.hash) return await tellDamaged(context, { ...record, last: found.best })
  // Hosts write about their copies all the time: only the newest revision can be replaced.
  const now = await readVolume(context.dependencies, name, signal)
  const same = now !== null && now.value.epoch === record.epoch && now.value.last?.hash === record.last?.hash
  if (!same || now.value.holder?.incarnation !== record.holder?.incarnation) return changedHands(name)
  return withinDeadline(context, record, signal, () => holdAndMount(context, now, mountId, checked.hash, signal, found))
}

/**
 * A holder that lives, and has lost its lease because it cannot write its disk, may still read it: its last tree is
 * better than the newest checkpoint.
 */
async function whatIsLeft(context: Context, attempt: Attempt, record: VolumeRecord): Promise<Checkpoint | null> {
  const { holder } = record
  if (holder === null || context.hosts.get(holder.host)?.unwritable == null) return null
  if (attempt.left === undefined) {
    const inTime = AbortSignal.any([attempt.signal, context.dependencies.clock.deadline(LEFT_ANSWER_MS)])
    attempt.left = (await askHolder(context, record, 'tree', inTime))?.final ?? null
  }
  return attempt.left
}

/** Looks at the idle tree before it is held. A tree that has to be read anew (after a reboot) may take past the deadline. */
async function verify(context: Context, record: VolumeRecord, signal: AbortSignal): Promise<string | WherryError> {
  const found = await nullOnAbort(context.treeChecks.join(record.id), signal)
  if (found === null) return checkRunning(context, record)
  // The next look has it repaired from another host, or says why that cannot be.
  return found.hash === record.last?.hash ? found.hash : await tellDamaged(context, record)
}

/**
 * Runs `work` under the volume's lock, unless the deadline passes while something else has it: then the work is never
 * begun, because nobody would answer for what it did.
 */
async function withinDeadline<T>(
  context: Context,
  volume: Pick<VolumeRecord, 'id' | 'name'>,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T | WherryError> {
  let begun = false
  const run = context.locks.run(volume.id, async () => {
    if (signal.aborted) return null
    begun = true
    return { answer: await work() }
  })
  const first = await nullOnAbort(run, signal)
  const outcome = begun ? await run : first
  return outcome === null ? stillReleasing(context, volume.name) : outcome.answer
}
