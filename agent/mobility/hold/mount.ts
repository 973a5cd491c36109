import { codeOf, WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { changedHands, heldElsewhere, leaseLost, notFound, registrySilent } from '../errors.ts'
import { ownHost, ownLabel, stuckAt } from '../own-host.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { isAt } from '../record/copies.ts'
import { readVolume } from '../record/update-record.ts'
import { reportFoundDamage } from '../replication/damaged-copies.ts'
import { askHolder } from './ask-holder.ts'
import { checkRunning, releaseFailed } from './errors.ts'
import { holdAndMount } from './hold.ts'
import { mountAfterLoss } from './mount-after-loss.ts'
import {
  copyFailure,
  type MountAttempt,
  type MountContext,
  WANTED_AFTER_MOUNT_MS,
  waitForCopy,
  withinDeadline,
} from './mount-attempt.ts'
import { addUse, dropUse } from './volume-use.ts'

/** How often a waiting Mount reads the record when no wakeup comes. */
const POLL_MS = 300
/** A holder that cannot release is asked to retry this often. */
const STUCK_ASK_EVERY_MS = 2_000
/** A release that takes longer than a holder waits for it (surrender.ts) still gets a reply. */
const STUCK_REPLY_MS = 4_000
/**
 * A holder that could not release for this long will not.
 * What ends by itself (a writer that outlives its container) has ended.
 */
const STUCK_FOR_MS = 5_000
/** A Mount of a held volume waits this long for the registry to say that the volume was removed. */
const REMOVED_REPLY_MS = 300
/** Docker closes its side at the deadline: the reply has to be sent before. */
const REPLY_MARGIN_MS = 250

/**
 * Mounts a volume for one use (`mountId`), and returns its mountpoint.
 * Waits for the holder's release and for the data until the deadline. What was begun continues after it, and the next
 * Mount joins it (promise 9).
 * On return the hold is committed in the registry, the epoch synced to this disk, the tree mounted and the use
 * written.
 * May be repeated; each call counts one use.
 */
export async function mountVolume(
  context: MountContext,
  name: string,
  mountId: string,
  deadlineMs: number,
): Promise<string> {
  const { clock, signal: ending, log } = context.dependencies
  const limitMs = Math.max(deadlineMs - REPLY_MARGIN_MS, deadlineMs / 2)
  const signal = AbortSignal.any([ending, clock.deadline(limitMs)])
  const attempt: MountAttempt = { name, mountId, deadlineMs, signal, job: null, stuck: null, left: undefined }
  context.pendingMounts.set(name, (context.pendingMounts.get(name) ?? 0) + 1)
  const startMs = clock.elapsedMs()
  try {
    const mountpoint = await tryUntilDeadline(context, attempt)
    log.info({ volume: name, mountId, waitMs: Math.round(clock.elapsedMs() - startMs) }, 'mounted')
    return mountpoint
  } finally {
    const left = (context.pendingMounts.get(name) ?? 1) - 1
    if (left === 0) context.pendingMounts.delete(name)
    else context.pendingMounts.set(name, left)
  }
}

async function tryUntilDeadline(context: MountContext, attempt: MountAttempt): Promise<string> {
  const { name, signal } = attempt
  let refusal: Error | null = null
  while (!signal.aborted) {
    const step = await tryMount(context, attempt).catch((error: unknown) => {
      if (signal.aborted && refusal !== null && codeOf(error) === 'REGISTRY_UNAVAILABLE') return refusal
      throw error
    })
    if (typeof step === 'string') return step
    if (step.message !== refusal?.message)
      context.dependencies.log.debug({ volume: name, why: step.message }, 'mount waits')
    refusal = step
    await context.wakeups.wait(name, (until) => context.dependencies.clock.sleep(POLL_MS, until), signal)
  }
  throw refusal ?? registrySilent(name)
}

/** Tries once: returns the mountpoint, or the reason why not yet. Throws what waiting cannot mend. */
async function tryMount(context: MountContext, attempt: MountAttempt): Promise<string | WherryError> {
  const { name, deadlineMs, signal } = attempt
  const known = await mountConfirmed(context, attempt)
  if (known !== null) return known
  const entry = await readVolume(context.dependencies, name, signal)
  if (entry === null || entry.value.removedAt !== null) throw notFound(name)
  const record = entry.value
  if (record.holder !== null && record.holder.host !== context.dependencies.self.id) {
    if (!context.hosts.alive(record.holder.host)) return mountAfterLoss(context, attempt, entry)
    // While this disk has a lost hold nothing is copied here: a job would end at once, and its end would wake this
    // Mount.
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
 * Returns why the holder has not released the volume yet.
 * One that says that it cannot is asked to retry. When it says so again after some seconds, waiting is no use, and
 * this throws RELEASE_FAILED with the reason.
 */
async function awaitRelease(
  context: Pick<Context, 'dependencies' | 'hosts' | 'releases' | 'releaseTroubles'>,
  attempt: MountAttempt,
  record: VolumeRecord,
  host: string,
): Promise<WherryError> {
  const trouble = stuckAt(context, host, record)
  if (trouble === null) {
    attempt.stuck = null
    return heldElsewhere(record, context.hosts, context.dependencies.self.id)
  }
  // Whether it is used there is unknown; when that host falls silent, the volume is taken over as any other.
  if (trouble.code === 'COPY_DAMAGED') return releaseFailed(record, context.hosts.labelWithAge(host), trouble)
  const { clock } = context.dependencies
  const nowMs = clock.elapsedMs()
  attempt.stuck ??= { sinceMs: nowMs, askedMs: Number.NEGATIVE_INFINITY }
  const { sinceMs, askedMs } = attempt.stuck
  if (nowMs - askedMs >= STUCK_ASK_EVERY_MS) {
    attempt.stuck = { sinceMs, askedMs: nowMs }
    const inTime = AbortSignal.any([attempt.signal, clock.deadline(STUCK_REPLY_MS)])
    const reply = await askHolder(context, record, 'release', inTime)
    if (reply?.outcome === 'idle') return changedHands(record.name)
    if (reply?.outcome === 'stuck' && reply.trouble === null) {
      // The release runs: the time restarts should it fail.
      attempt.stuck = { sinceMs: clock.elapsedMs(), askedMs: nowMs }
      return heldElsewhere(record, context.hosts, context.dependencies.self.id)
    }
  }
  const refusal = releaseFailed(record, context.hosts.labelWithAge(host), trouble)
  if (clock.elapsedMs() - sinceMs >= STUCK_FOR_MS) throw refusal
  return refusal
}

/** Mounts a confirmed hold for a further use, without the registry; null: there is none. */
async function mountConfirmed(
  context: Pick<
    Context,
    | 'dependencies'
    | 'hosts'
    | 'locks'
    | 'lease'
    | 'guardedVolumes'
    | 'containerUses'
    | 'releaseTroubles'
    | 'volumeTroubles'
    | 'stateDisk'
    | 'confirmed'
    | 'surrendered'
    | 'endedUses'
  >,
  attempt: MountAttempt,
): Promise<string | WherryError | null> {
  for (const [id, hold] of context.confirmed) {
    if (hold.name !== attempt.name || (await isRemoved(context, { id, name: hold.name }, attempt.signal))) continue
    return withinDeadline(context, { id, name: hold.name }, attempt.signal, async () => {
      const local = await context.dependencies.store.copy(id)
      if (local?.held == null || local.held.incarnation !== context.confirmed.get(id)?.incarnation) return null
      // After a restart holds may be confirmed before the watchdog was first told of them, if the disk is slow.
      await context.guardedVolumes.ensure(local)
      if (context.guardedVolumes.isGuarded(local) && !context.lease.runs) return leaseLost(local.name, ownHost(context))
      const mountpoint = await addUse(context, local, attempt.mountId)
      // The lease may have been found ended meanwhile: then only a write can tell whether the volume is still held
      // here.
      if (context.confirmed.get(id)?.incarnation === local.held.incarnation) return mountpoint
      await dropUse(context, id, attempt.mountId)
      return leaseLost(local.name, ownHost(context))
    })
  }
  return null
}

/**
 * Whether the registry says that a volume held here was removed: another volume may have its name now.
 * False when the registry does not reply soon, or knows neither.
 */
async function isRemoved(
  context: Pick<Context, 'dependencies'>,
  held: Pick<VolumeRecord, 'id' | 'name'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { registry, clock } = context.dependencies
  const ask = async () => {
    const now = (await registry.volume(held.name))?.value
    if (now !== undefined) return now.id !== held.id || now.removedAt !== null
    return (await registry.removed()).some(({ value }) => value.id === held.id)
  }
  const inTime = AbortSignal.any([signal, clock.deadline(REMOVED_REPLY_MS)])
  const asked = ask().catch(() => false)
  return (await nullOnAbort(asked, inTime)) ?? false
}

/**
 * Starts or joins the copy, and returns why the Mount waits.
 * Throws why a copy that it waited for has failed.
 */
function awaitCopy(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager'>,
  attempt: MountAttempt,
  record: VolumeRecord,
): WherryError {
  const failure = copyFailure(attempt, record)
  if (failure !== null) throw failure
  attempt.job = context.copyManager.want(record, attempt.deadlineMs + WANTED_AFTER_MOUNT_MS)
  return waitForCopy(context, attempt.job)
}

/**
 * Compares the idle tree with its checkpoint before it is held.
 * A tree that has to be read again (after a reboot) may take past the deadline.
 */
async function verify(
  context: Pick<Context, 'dependencies' | 'hosts' | 'treeChecks'>,
  record: VolumeRecord,
  signal: AbortSignal,
): Promise<string | WherryError> {
  const found = await nullOnAbort(context.treeChecks.join(record.id), signal)
  if (found === null) return checkRunning(record, ownLabel(context))
  // The next try has it repaired from another host, or says why that cannot be.
  return isSameTree(found, record.last) ? found.hash : await reportFoundDamage(context, record)
}
