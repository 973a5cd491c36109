import { decodeTime, isValid } from 'ulid'
import type { Checkpoint, CopyRecord, Holder, Seizure, VolumeOptions } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { copyFields, isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { isEmptyTree, isForged, isOnlyIntended, NO_CHECKPOINT, withoutCheckpoint } from '../record/copies.ts'
import { diskConflict, doubtfulHolder, severalVolumes, takenOverOnly, twoHolders, withoutData } from './problems.ts'
import { type Found, hearWitnesses } from './witnesses.ts'

/**
 * With silent hosts, an idle volume starts this many epochs above the highest that was seen.
 * One of them may have counted on from there, and its holds must be older.
 */
const UNSEEN_EPOCHS = 1_000

/** What the disks say of one volume. */
export interface RecoverPlan {
  readonly id: string
  readonly name: string
  readonly options: VolumeOptions
  readonly createdAt: string
  /** Highest epoch on any disk: a record that is not below it is right. */
  readonly epochSeen: number
  /** The epoch to write. */
  readonly epoch: number
  readonly holder: Holder | null
  readonly last: Checkpoint | null
  /**
   * A host that did not reply may have held it, and written more than `last`.
   * That is no part of the volume any more.
   */
  readonly seizure: Seizure | null
  readonly copies: Readonly<Record<string, CopyRecord>>
  /**
   * The holder does not guard the volume, because it knows of no copy elsewhere.
   * So the record may name none that the volume could be taken over with. The holder's next checkpoint changes that.
   */
  readonly isUnguarded: boolean
  readonly found: readonly Found[]
  /** The host alone that has `last`, while disks of others with data have not seen its epoch; null: it is not so. */
  readonly alone: string | null
  /** Why no record may be written from this, for an operator; null: one may. */
  readonly refusal: string | null
}

/**
 * Returns what a volume's record must have been, by all its copies on disks. Pure.
 * Returns a line for an operator instead when the disks contradict each other.
 * `someSilent`: not all hosts have replied. `by`: id of the host that asks.
 */
export function planVolume(
  name: string,
  found: readonly Found[],
  { someSilent, now, by }: { someSilent: boolean; now: Date; by: string },
): RecoverPlan | string {
  const ids = [...new Set(found.map(({ copy }) => copy.id))]
  const [first] = found
  if (first === undefined) return `Volume "${name}": no disk has it.`
  if (ids.length > 1) return describeTwoIds(name, found)
  const epochSeen = Math.max(...found.map(({ copy }) => Math.max(copy.epochSeen, copy.recordSeen?.epoch ?? 0)))
  const holders = found.filter(({ copy }) => isHeldAt(copy, epochSeen))
  if (holders.length > 1) {
    const hosts = holders.map(({ host }) => host)
    return twoHolders(name, hosts, epochSeen)
  }
  const holder = holders[0] ?? null
  if (holder !== null && someSilent && !holder.proven) return doubtfulHolder(name, holder.host)
  const last = holder === null ? newestOf(name, found) : holder.copy.checkpoint
  if (typeof last === 'string') return last
  const { refusal, isLone } = hearWitnesses(name, found, holder, last)
  if (refusal !== null) return refusal
  // A hold that was intended when its host died may be known to that disk alone.
  const intended = Math.max(epochSeen, ...found.map(({ copy }) => copy.held?.epoch ?? 0))
  const { id, options } = first.copy
  const isUnguarded = holder !== null && !holder.guarded && holder.copy.options.onIsolation === 'pause'
  const epoch = holder === null ? intended + (someSilent ? UNSEEN_EPOCHS : 0) : epochSeen
  return {
    id,
    name,
    options,
    createdAt: (isValid(id) ? new Date(decodeTime(id)) : now).toISOString(),
    epochSeen,
    epoch,
    holder: holder === null ? null : toHolder(holder, now),
    last,
    seizure: holder === null && last !== null && someSilent ? seizureAt(epoch, last, by, now) : null,
    copies: Object.fromEntries(
      found.map((one) => {
        const copy = toCopyRecord(one, last, holder, now)
        return [one.host, isUnguarded && one !== holder ? withoutCheckpoint(copy) : copy]
      }),
    ),
    isUnguarded,
    found,
    alone: isLone ? (found.find(({ copy }) => isSameTree(copy.checkpoint, last))?.host ?? null) : null,
    refusal:
      holder === null && someSilent && !hasData(last)
        ? withoutData(
            name,
            found.map(({ host }) => host),
          )
        : null,
  }
}

/**
 * Whether a copy is held at that epoch.
 * Of an intended hold the disk has not seen the epoch committed: its Mount got no reply.
 */
function isHeldAt(copy: LocalCopy, epoch: number): boolean {
  return copy.held !== null && copy.held.epoch === epoch && copy.epochSeen >= copy.held.epoch
}

/**
 * Whether a checkpoint has data.
 * An empty tree may be what an older release left of a hold that never began.
 */
function hasData(last: Checkpoint | null): boolean {
  return last !== null && !isEmptyTree(last)
}

function toHolder({ host, copy }: Found, now: Date): Holder {
  return { host, incarnation: copy.held?.incarnation ?? '', since: now.toISOString() }
}

/** At most what was written since the checkpoint is missing; nobody knows until when. */
function seizureAt(epoch: number, base: Checkpoint, by: string, now: Date): Seizure {
  const ageSeconds = Math.max(0, Math.ceil((now.getTime() - Date.parse(base.at)) / 1000))
  return {
    epoch,
    from: '',
    by,
    at: now.toISOString(),
    base: { epoch: base.epoch, seq: base.seq, hash: base.hash },
    ageSeconds,
  }
}

/**
 * Returns the highest committed checkpoint that some disk has whole, and keeps.
 * If no disk has one whole, it is the highest of those that are damaged: the damage may be undone, and no record may
 * say that such a volume has no data.
 * The tree of a hold that was taken over is set aside.
 */
function newestOf(name: string, found: readonly Found[]): Checkpoint | null | string {
  const whole = found.filter(({ copy }) => !copy.applying && copy.damaged === null)
  return newestAmong(name, whole) ?? newestAmong(name, found)
}

function newestAmong(name: string, found: readonly Found[]): Checkpoint | null | string {
  let newest: Checkpoint | null = null
  let over: Found | null = null
  for (const one of found) {
    const { copy } = one
    const { checkpoint } = copy
    if (checkpoint === null || isForged(copy)) continue
    if (copy.held !== null && !isOnlyIntended(copy)) {
      over = one
      continue
    }
    const order = newest === null ? 'newer' : orderOf(checkpoint, newest)
    // An older release gave an empty tree the name of the first checkpoint.
    if (order === 'conflict' && isEmptyTree(checkpoint)) continue
    if (order === 'conflict' && newest !== null && isEmptyTree(newest)) newest = checkpoint
    else if (order === 'conflict') {
      return diskConflict(name, checkpoint)
    }
    if (order === 'newer') newest = checkpoint
  }
  return newest === null && over !== null ? takenOverOnly(name, over.host, over.copy.held?.epoch) : newest
}

function toCopyRecord({ host, copy }: Found, last: Checkpoint | null, holder: Found | null, now: Date): CopyRecord {
  const { checkpoint } = copy
  const at = now.toISOString()
  if (checkpoint === null || isForged(copy))
    return { ...NO_CHECKPOINT, state: 'filling', at, kept: host === holder?.host }
  const isWhole = !copy.applying && copy.damaged === null && (copy.held === null || host === holder?.host)
  const state = isWhole && isSameTree(checkpoint, last) ? 'current' : 'behind'
  return { ...copyFields(checkpoint), state, at, kept: true }
}

function describeTwoIds(name: string, found: readonly Found[]): string {
  const each = found.map(({ host, copy }) => {
    const { checkpoint } = copy
    const has =
      checkpoint === null ? 'no checkpoint' : `checkpoint ${checkpoint.epoch}.${checkpoint.seq} of ${checkpoint.at}`
    return `${copy.id} on host ${host} (${has})`
  })
  return severalVolumes(name, each)
}
