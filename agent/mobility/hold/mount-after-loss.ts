import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import { nullOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { changedHands } from '../errors.ts'
import { findCandidates } from '../failover/candidates.ts'
import { weighTakeOver } from '../failover/takeover.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { isAt } from '../record/copies.ts'
import { readVolume } from '../record/update-record.ts'
import { tellDamaged } from '../replication/damaged-copies.ts'
import { askHolder } from './ask-holder.ts'
import { checkRunning, stillReleasing } from './errors.ts'
import { takeOverAndMount } from './hold.ts'
import {
  failureOf,
  type MountAttempt,
  type MountContext,
  WANTED_AFTER_MOUNT_MS,
  waitForCopy,
  withinDeadline,
} from './mount-attempt.ts'

/** It reads its whole tree meanwhile; a service waits. */
const LEFT_ANSWER_MS = 30_000

/** The holder is silent: takes the volume over from it as soon as that is safe, with the best checkpoint that can be reached brought here first. */
export async function mountAfterLoss(
  context: MountContext,
  attempt: MountAttempt,
  entry: Versioned<VolumeRecord>,
): Promise<string | WherryError> {
  const { name, mountId, deadlineMs, signal } = attempt
  const record = entry.value
  const weighed = await weighTakeOver(context, record, { person: false, loss: false }, () =>
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
    const failure = failureOf(attempt, record)
    if (failure !== null && attempt.job !== null && isNewer) {
      // What is left cannot be had: from the next look on the newest checkpoint is gone on from.
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
  if (!isSameTree(checked, found.best)) return await tellDamaged(context, { ...record, last: found.best })
  // Hosts write about their copies all the time: only the newest revision can be replaced.
  const now = await readVolume(context.dependencies, name, signal)
  const same = now !== null && now.value.epoch === record.epoch && isSameTree(now.value.last, record.last)
  if (!same || now.value.holder?.incarnation !== record.holder?.incarnation) return changedHands(name)
  return withinDeadline(context, record, signal, () =>
    takeOverAndMount(context, now, found, mountId, checked.hash, signal),
  )
}

/**
 * A holder that lives, and has lost its lease because it cannot write its disk, may still read it: its last tree is
 * better than the newest checkpoint.
 */
async function whatIsLeft(
  context: Pick<Context, 'dependencies' | 'hosts' | 'releases'>,
  attempt: MountAttempt,
  record: VolumeRecord,
): Promise<Checkpoint | null> {
  const { holder } = record
  if (holder === null || context.hosts.get(holder.host)?.unwritable == null) return null
  if (attempt.left === undefined) {
    const inTime = AbortSignal.any([attempt.signal, context.dependencies.clock.deadline(LEFT_ANSWER_MS)])
    attempt.left = (await askHolder(context, record, 'tree', inTime))?.final ?? null
  }
  return attempt.left
}
