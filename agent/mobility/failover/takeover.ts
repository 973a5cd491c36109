import type { WherryError } from '../../model/errors.ts'
import type { Checkpoint, Seizure, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { changedHands, failoverRefused, leaseRunning, registryBehindDisks, wouldLose } from '../errors.ts'
import { checkpointOf, orderOf } from '../record/checkpoint-order.ts'
import { copiesAfter, hasCopyElsewhere } from '../record/copies.ts'
import { seizureFields } from '../record/lineage.ts'
import { changeVolume } from '../record/update-record.ts'
import { type Candidates, findCandidates } from './candidates.ts'
import { findSoundCandidates } from './sound-candidates.ts'

/** A take-over that is possible as far as is known: every condition but the compare-and-sets themselves. */
export interface TakeOver {
  readonly record: VolumeRecord
  readonly best: Checkpoint
  /** Hosts that have `best`. */
  readonly hosts: readonly string[]
}

/** What whoever asks for a take-over accepts. */
export interface Acceptance {
  /** An operator asks for it. */
  readonly person: boolean
  /** What is newer than the best checkpoint that can be had is given up. */
  readonly loss: boolean
  /** A host that has released the volume has had time enough to write that down. */
  readonly waited?: boolean
}

/**
 * Looks whether a volume may be taken over from its holder: the lease over or silent long enough, the newest committed checkpoint of all copies that
 * can be reached found, and not below the registry's `last` unless a person accepts the loss. Answers why not otherwise, naming who has what. Changes nothing.
 * For an operator the copies are compared with their checkpoint first: nobody can mount one that is not what it says.
 */
export async function weighTakeOver(
  context: Context,
  record: VolumeRecord,
  accepts: Acceptance,
  signal: AbortSignal,
): Promise<(TakeOver & Pick<Candidates, 'described'>) | WherryError> {
  const { holder, options } = record
  if (holder !== null) {
    const waitMs = context.expiry.inMs(holder.host)
    if (waitMs > 0) return leaseRunning(context, record, waitMs)
  }
  const found = await (accepts.person ? findSoundCandidates : findCandidates)(context, record, signal)
  const { best, described } = found
  const promote = `wherry promote ${record.name}`
  // A holder that cannot write its disk may still send what it has.
  const maySend = !accepts.person && holder !== null && context.hosts.get(holder.host)?.unwritable != null
  const refused = (why: string, command: string | null) =>
    failoverRefused(context, record, described, why, maySend ? promote : command, maySend)
  if (!accepts.person && (options.failover === 'manual' || options.onIsolation === 'continue')) {
    const waits = 'it waits for a person (failover=manual or on_isolation=continue)'
    return refused(waits, best === null ? null : promote)
  }
  if (found.epochSeen > record.epoch) return registryBehindDisks(record, found.epochSeen)
  const isBelow = best === null || (record.last !== null && !isAtLeast(best, record.last))
  if (found.releasing.length > 0 && isBelow && accepts.waited !== true) return changedHands(record.name)
  if (best === null) {
    return refused('no host that can be reached has a checkpoint of it that can be used', null)
  }
  if (record.last !== null && isBelow && !accepts.loss) {
    return refused(wouldLose(record.last, best), `${promote} --accept-loss`)
  }
  // What came to another host by itself, its holder has not learnt of: no lease that is over stops it.
  if (holder !== null && !hasCopyElsewhere(record, holder.host) && !accepts.loss) {
    const unaware = 'it does not know of the copies elsewhere, and may still be writing'
    return refused(unaware, `${promote} --accept-loss`)
  }
  return { record, best, hosts: found.hosts, described }
}

/**
 * Ends the holder's lease and, from the very revision that was read before, writes the record that `next` makes. A holder that came back would have
 * written its hold again after its new heartbeat, and that heartbeat would have taken the place of our mark: then one of the two writes fails. Answers why
 * somebody was faster, or the record as written. `isGivenUp`: the holder was asked after `entry` was read, and
 * surrendered: it does not mount the volume again before it has written the record, so its lease need not be over.
 * Rejects REGISTRY_UNAVAILABLE; then the write may still have happened, and is found by `mine`.
 */
export async function writeTakeOver(
  context: Context,
  entry: Versioned<VolumeRecord>,
  next: (record: VolumeRecord) => VolumeRecord,
  mine: (record: VolumeRecord) => boolean,
  signal: AbortSignal,
  isGivenUp = false,
): Promise<VolumeRecord | WherryError> {
  const { registry } = context.dependencies
  const { value: record, revision } = entry
  if (record.holder !== null && !isGivenUp && !(await context.expiry.end(record.holder.host)))
    return changedHands(record.name)
  const write = await registry.updateVolume(next(record), revision)
  if (write.outcome === 'done') return write.entry.value
  if (write.outcome === 'refused') return changedHands(record.name)
  // Its answer was lost, or it is still on its way: only a write after which it cannot come through any more tells that it did not.
  const look = (now: VolumeRecord | null) => (now === null ? null : { ...now })
  const { entry: found } = await changeVolume(context.dependencies, record.name, look, signal, revision)
  return found !== null && mine(found.value) ? found.value : changedHands(record.name)
}

/** The record after a take-over of `taken` by this host. `holder` null: the volume is idle then. */
export function recordAfterTakeOver(
  context: Context,
  record: VolumeRecord,
  best: Checkpoint,
  hosts: readonly string[],
  held: { epoch: number; incarnation: string } | null,
): VolumeRecord {
  const { self, clock } = context.dependencies
  const at = clock.now().toISOString()
  const epoch = held?.epoch ?? record.epoch + 1
  const from = record.holder?.host ?? ''
  const { seq, hash } = best
  const seizure: Seizure = {
    epoch,
    from,
    by: self.id,
    at,
    base: { epoch: best.epoch, seq, hash },
    ageSeconds: ageAtLossSeconds(context, record, best),
  }
  const copies = hosts.reduce(
    (all, host) => copiesAfter({ ...record, copies: all, last: best }, host, best),
    behindAll(record, best),
  )
  const holder = held === null ? null : { host: self.id, incarnation: held.incarnation, since: at }
  return { ...record, epoch, holder, last: best, ...seizureFields(record, seizure), copies }
}

/** Says what was lost, once, where people and programs look. */
export function announceSeizure(context: Context, record: VolumeRecord): void {
  const { log, bus, self, tally } = context.dependencies
  const seizure = record.seizures.at(-1)
  if (seizure === undefined) return
  tally.seized(record.name)
  const { epoch, base, ageSeconds } = seizure
  log.error(
    {
      volume: record.name,
      id: record.id,
      epoch,
      base: `${base.epoch}.${base.seq}`,
      ageSeconds,
      from: context.hosts.label(seizure.from),
    },
    `taken over from a host that was lost: writes of at most its last ${ageSeconds} s are missing here`,
  )
  bus.publish(`volume.${record.id}.seized`, { name: record.name, host: self.id, ...seizure })
}

/** By what a copy on this disk can be gone on from. */
export function isTakeOverReady(local: LocalCopy | null, best: Checkpoint): boolean {
  return (
    local !== null &&
    !local.applying &&
    local.held === null &&
    local.damaged === null &&
    local.checkpoint?.hash === best.hash
  )
}

/**
 * From the checkpoint to the last moment at which the holder may have written: by the holder's clock up to its last heartbeat, from then on by this host's,
 * so that two clocks that differ do not matter.
 */
function ageAtLossSeconds(context: Context, { id, holder, options }: VolumeRecord, best: Checkpoint): number {
  const heartbeat = holder === null ? undefined : context.hosts.get(holder.host)
  const nowMs =
    heartbeat === undefined
      ? context.dependencies.clock.now().getTime()
      : Date.parse(heartbeat.at) + context.hosts.silentMs(heartbeat.id)
  // With on_isolation=continue nothing has stopped it: it may have written until just now.
  const isFenced = holder !== null && options.onIsolation === 'pause'
  const lostAtMs = nowMs - (isFenced ? surelyFencedMs(context, holder.host) : 0)
  const covered = heartbeat?.covered[id]
  // A tree that did not change since the checkpoint is as young as the holder's last look at it.
  const isSame = covered !== undefined && orderOf(covered, best) === 'same'
  return Math.max(0, Math.ceil((lostAtMs - Date.parse(isSame ? covered.at : best.at)) / 1000))
}

/**
 * For how long the holder has not written for certain: its lease ended some time after its last sign of life. A registry that was away meanwhile may have
 * let it go on rightly (Isolation), until the registry was back and it had the time that anybody must leave it then.
 */
function surelyFencedMs(context: Context, host: string): number {
  const { clock, leaseMs } = context.dependencies
  const silentMs = context.hosts.silentMs(host)
  const heartbeat = context.hosts.get(host)
  if (!Number.isFinite(silentMs) || heartbeat === undefined) return 0
  const watchedMs = clock.elapsedMs() - context.lease.unbrokenSinceMs
  const sinceLeaseMs = silentMs - (heartbeat.leaseMs ?? leaseMs)
  return Math.max(0, watchedMs >= silentMs ? sinceLeaseMs : watchedMs - context.expiry.patienceMs(heartbeat))
}

function isAtLeast(best: Checkpoint, last: Checkpoint): boolean {
  const order = orderOf(best, last)
  return order === 'same' || order === 'newer'
}

function behindAll(record: VolumeRecord, best: Checkpoint): VolumeRecord['copies'] {
  return Object.fromEntries(
    Object.entries(record.copies).map(([host, copy]) => {
      const isAtBest = host !== record.holder?.host && orderOf(checkpointOf(copy), best) === 'same'
      return [host, !isAtBest && copy.state === 'current' ? { ...copy, state: 'behind' as const } : copy]
    }),
  )
}
