import type { WherryError } from '../../model/errors.ts'
import type { Checkpoint, Seizure, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { Context } from '../context.ts'
import { changedHands, registryBehind } from '../errors.ts'
import { checkpointOf, keepKnown, orderOf } from '../record/checkpoint-order.ts'
import { copiesAfter, hasCopyElsewhere } from '../record/copies.ts'
import { seizureFields } from '../record/lineage.ts'
import { changeVolume } from '../record/update-record.ts'
import type { Candidates } from './candidates.ts'
import { describeLoss, failoverRefused, leaseRunning } from './errors.ts'

/** A takeover that is possible as far as is known: every condition but the compare-and-sets themselves. */
export interface Takeover {
  readonly record: VolumeRecord
  readonly best: Checkpoint
  /** Hosts that have `best`. */
  readonly hosts: readonly string[]
}

/** What the caller of a takeover accepts. */
export interface Acceptance {
  /** An operator asks for it. */
  readonly isOperator: boolean
  /** Loses what is newer than the best checkpoint that can be reached. */
  readonly loss: boolean
  /**
   * Called when a host is found that has released the volume and has not written that to its disk yet.
   * Returns whether it had enough time for that. Left out: it never has.
   */
  readonly hasWaited?: () => boolean
}

/**
 * Returns the checkpoint that a volume may be taken over with, or why it may not, naming who has what.
 * The holder's lease must have ended or been silent for long enough. The best checkpoint that can be reached must not
 * be below the registry's `last`, unless an operator accepts the loss. Changes nothing.
 * `find` returns the candidates. For an operator it compares the copies with their checkpoints first: nobody can
 * mount a damaged one.
 */
export async function planTakeover(
  context: Pick<Context, 'dependencies' | 'hosts' | 'expiry'>,
  record: VolumeRecord,
  accepts: Acceptance,
  find: () => Promise<Candidates>,
): Promise<(Takeover & Pick<Candidates, 'described'>) | WherryError> {
  const { holder, options } = record
  if (holder !== null) {
    const waitMs = context.expiry.inMs(holder.host)
    if (waitMs > 0) return leaseRunning(record, context.hosts, context.dependencies.self.id, waitMs)
  }
  const found = await find()
  const { best, described } = found
  const promote = `wherry promote ${record.name}`
  // A holder that cannot write its disk may still send what it has.
  const maySend = !accepts.isOperator && holder !== null && context.hosts.get(holder.host)?.unwritable != null
  const refused = (why: string, command: string | null) =>
    failoverRefused(record, context.hosts, { described, why, command: maySend ? promote : command, maySend })
  if (!accepts.isOperator && (options.failover === 'manual' || options.onIsolation === 'continue')) {
    const waits = 'it waits for an operator (failover=manual or on_isolation=continue)'
    return refused(waits, best === null ? null : promote)
  }
  if (found.epochSeen > record.epoch) return registryBehind(record, 'a disk of the cluster', found.epochSeen)
  const isBelow = best === null || (record.last !== null && !isAtLeast(best, record.last))
  if (found.releasing.length > 0 && isBelow && accepts.hasWaited?.() !== true) return changedHands(record.name)
  if (best === null) {
    return refused('no host that can be reached has a checkpoint of it that can be used', null)
  }
  if (record.last !== null && isBelow && !accepts.loss) {
    return refused(describeLoss(record.last, best), `${promote} --accept-loss`)
  }
  // The holder does not know of copies that came to other hosts by themselves: the end of its lease does not stop it.
  if (holder !== null && !hasCopyElsewhere(record, holder.host) && !accepts.loss) {
    const unaware = 'it does not know of the copies elsewhere, and may still be writing'
    return refused(unaware, `${promote} --accept-loss`)
  }
  return { record, best, hosts: found.hosts, described }
}

/**
 * Ends the holder's lease, then writes the record that `next` makes.
 * The write is from the very revision of `entry`. A holder that came back would have written its hold again after its
 * new heartbeat. That heartbeat would have replaced our mark, so one of the two writes fails.
 * Returns the record as written, or why another host was faster.
 * `isGivenUp`: the holder surrendered after `entry` was read. It writes the record before it mounts the volume again,
 * so its lease need not have ended.
 * Rejects REGISTRY_UNAVAILABLE; then the write may still have happened, and `mine` recognises it.
 */
export async function writeTakeover(
  context: Pick<Context, 'dependencies' | 'expiry'>,
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
  // It is unacknowledged and may still take effect: only a later write proves that it cannot any more.
  const rewrite = (now: VolumeRecord | null) => (now === null ? null : { ...now })
  const { entry: found } = await changeVolume(context.dependencies, record.name, rewrite, signal, revision)
  return found !== null && mine(found.value) ? found.value : changedHands(record.name)
}

/**
 * Writes that this host has taken the volume over and holds it under `held`.
 * This disk has that hold as intended. The holder's lease is ended first, then the record is written from the
 * revision of `entry`.
 */
export async function commitTakeover(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'expiry'>,
  entry: Versioned<VolumeRecord>,
  { best, hosts }: Takeover,
  held: { epoch: number; incarnation: string },
  signal: AbortSignal,
): Promise<VolumeRecord | WherryError> {
  const { self } = context.dependencies
  const next = (record: VolumeRecord) => recordAfterTakeover(context, record, best, [...hosts, self.id], held)
  const mine = (record: VolumeRecord) => record.holder?.incarnation === held.incarnation
  return await writeTakeover(context, entry, next, mine, signal)
}

/** Returns the record after a takeover by this host. `held` null: the volume is idle then. */
export function recordAfterTakeover(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'expiry'>,
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
  return { ...record, epoch, holder, last: keepKnown(record.last, best), ...seizureFields(record, seizure), copies }
}

/** Logs, counts and publishes what was lost, once. */
export function announceTakeover(context: Pick<Context, 'dependencies' | 'hosts'>, record: VolumeRecord): void {
  const { log, bus, self, tally } = context.dependencies
  const seizure = record.seizures.at(-1)
  if (seizure === undefined) return
  tally.takenOver(record.name)
  const { epoch, base, ageSeconds } = seizure
  log.warn(
    {
      volume: record.name,
      id: record.id,
      epoch,
      base: `${base.epoch}.${base.seq}`,
      ageSeconds,
      from: context.hosts.label(seizure.from),
    },
    'volume taken over from a lost host: what was written since its checkpoint is missing',
  )
  bus.publish(`volume.${record.id}.seized`, { name: record.name, host: self.id, ...seizure })
}

/**
 * Returns the time from the checkpoint to the last moment at which the holder may have written.
 * It is measured by the holder's clock up to its last heartbeat, and by this host's from then on, so that clocks that
 * differ do not matter.
 */
function ageAtLossSeconds(
  context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'expiry'>,
  { id, holder, options }: VolumeRecord,
  best: Checkpoint,
): number {
  const heartbeat = holder === null ? undefined : context.hosts.get(holder.host)
  const nowMs =
    heartbeat === undefined
      ? context.dependencies.clock.now().getTime()
      : Date.parse(heartbeat.at) + context.hosts.silentMs(heartbeat.id)
  // With on_isolation=continue nothing has stopped it: it may have written until just now.
  const isFenced = holder !== null && options.onIsolation === 'pause'
  const lostAtMs = nowMs - (isFenced ? surelyFencedMs(context, holder.host) : 0)
  const covered = heartbeat?.covered[id]
  // A tree that did not change since the checkpoint is as young as the holder's last scan of it.
  const isSame = covered !== undefined && orderOf(covered, best) === 'same'
  return Math.max(0, Math.ceil((lostAtMs - Date.parse(isSame ? covered.at : best.at)) / 1000))
}

/**
 * Returns how long the holder has certainly not written.
 * Its lease ended some time after its last heartbeat.
 * If the registry was away meanwhile, the holder may have continued rightly (Isolation) until it was back, and for
 * the time that others had to leave it then.
 */
function surelyFencedMs(context: Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'expiry'>, host: string): number {
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
