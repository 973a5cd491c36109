import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { changedHands } from '../errors.ts'
import { findCandidates } from '../failover/candidates.ts'
import { planTakeover } from '../failover/takeover.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { isAt } from '../record/copies.ts'
import { readVolume } from '../record/update-record.ts'
import { reportFoundDamage } from '../replication/damaged-copies.ts'
import { askHolder } from './ask-holder.ts'
import { checkRunning, stillReleasing } from './errors.ts'
import { takeOverAndMount } from './hold.ts'
import {
  copyFailure,
  type MountAttempt,
  type MountContext,
  WANTED_AFTER_MOUNT_MS,
  waitForCopy,
  withinDeadline,
} from './mount-attempt.ts'

/** The holder reads its whole tree meanwhile; a service waits. */
const LEFT_REPLY_MS = 30_000

/**
 * Takes a volume over from a silent holder as soon as that is safe, and mounts it.
 * The best checkpoint that can be reached is brought here first.
 */
export async function mountAfterLoss(
  context: MountContext,
  attempt: MountAttempt,
  entry: Versioned<VolumeRecord>,
): Promise<string | WherryError> {
  const { name, mountId, deadlineMs, signal } = attempt
  const record = entry.value
  const weighed = await planTakeover(context, record, { isOperator: false, loss: false }, () =>
    findCandidates(context, record, signal),
  )
  if (weighed instanceof WherryError) return weighed
  const left = await whatIsLeft(context, attempt, record)
  const isNewer = left !== null && orderOf(left, weighed.best) === 'newer'
  const found = isNewer ? { ...weighed, best: left, hosts: [] } : weighed
  const sources = isNewer && record.holder !== null ? [record.holder.host] : weighed.hosts
  const local = await context.dependencies.store.copy(record.id)
  if (local !== null && local.held !== null) return stillReleasing(name, ownLabel(context))
  if (!isAt(local, found.best)) {
    const failure = copyFailure(attempt, record)
    if (failure !== null && attempt.job !== null && isNewer) {
      // The last tree cannot be had: the next try takes the newest checkpoint.
      const refusal = waitForCopy(context, attempt.job)
      attempt.left = null
      attempt.job = null
      return refusal
    }
    if (failure !== null) throw failure
    const wantedMs = deadlineMs + WANTED_AFTER_MOUNT_MS
    attempt.job = context.copyManager.wantCheckpoint(record, found.best, sources, isNewer ? 0 : wantedMs)
    return waitForCopy(context, attempt.job)
  }
  const checked = await nullOnAbort(context.treeChecks.join(record.id), signal)
  if (checked === null) return checkRunning(record, ownLabel(context))
  if (!isSameTree(checked, found.best)) return await reportFoundDamage(context, { ...record, last: found.best })
  // Hosts report their copies all the time: only the newest revision can be replaced.
  const now = await readVolume(context.dependencies, name, signal)
  const same = now !== null && now.value.epoch === record.epoch && isSameTree(now.value.last, record.last)
  if (!same || now.value.holder?.incarnation !== record.holder?.incarnation) return changedHands(name)
  return withinDeadline(context, record, signal, () =>
    takeOverAndMount(context, now, found, mountId, checked.hash, signal),
  )
}

/**
 * Returns the last tree of a holder that is alive and cannot write its disk.
 * It is better than the newest checkpoint.
 * Null: there is none.
 */
async function whatIsLeft(
  context: Pick<Context, 'dependencies' | 'hosts' | 'releases'>,
  attempt: MountAttempt,
  record: VolumeRecord,
): Promise<Checkpoint | null> {
  const { holder } = record
  if (holder === null || context.hosts.get(holder.host)?.unwritable == null) return null
  if (attempt.left === undefined) {
    const inTime = AbortSignal.any([attempt.signal, context.dependencies.clock.deadline(LEFT_REPLY_MS)])
    attempt.left = (await askHolder(context, record, 'tree', inTime))?.final ?? null
  }
  return attempt.left
}
