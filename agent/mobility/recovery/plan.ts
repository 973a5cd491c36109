import { decodeTime, isValid } from 'ulid'
import type { Checkpoint, CopyRecord, Holder, Seizure, VolumeOptions } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { copyFields, isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { isEmptyTree, isForged, isOnlyIntended, NO_CHECKPOINT } from '../record/copies.ts'

/** With hosts silent, an idle volume begins this many epochs above the highest that was seen: one of them may have counted on from there, and its holds must be older. */
const UNSEEN_EPOCHS = 1_000

/** One copy on a disk. */
interface Found {
  readonly host: string
  readonly copy: LocalCopy
  /** If it is held: certain, as of now (Inventory.proven). */
  readonly proven: boolean
}

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
  /** A host that did not answer may have held it, and written more than `last`: what its disk has above that is no part of the volume any more. */
  readonly seizure: Seizure | null
  readonly copies: Readonly<Record<string, CopyRecord>>
  readonly found: readonly Found[]
  /** Why no record may be written from this, for a person; null: one may. */
  readonly refusal: string | null
}

/**
 * What a volume's record must have been, by all its copies on disks. Pure. Answers a line for a person instead when the disks contradict each other.
 * `someSilent`: not all hosts have answered. `by`: id of the host that asks.
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
  const epochSeen = Math.max(...found.map(({ copy }) => copy.epochSeen))
  const holders = found.filter(({ copy }) => isHeldAt(copy, epochSeen))
  if (holders.length > 1) {
    const names = holders.map(({ host }) => host).join(' and ')
    return `Volume "${name}": hosts ${names} both say that they hold it in epoch ${epochSeen}. Stop its containers on one of them, then run this again.`
  }
  const holder = holders[0] ?? null
  if (holder !== null && someSilent && !holder.proven) return describeDoubtful(name, holder)
  const last = holder === null ? newestOf(name, found) : holder.copy.checkpoint
  if (typeof last === 'string') return last
  // A hold that was intended when its host died may be in nobody's memory but its disk's.
  const intended = Math.max(epochSeen, ...found.map(({ copy }) => copy.held?.epoch ?? 0))
  const { id, options } = first.copy
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
    copies: Object.fromEntries(found.map((one) => [one.host, toCopyRecord(one, last, holder, now)])),
    found,
    refusal: holder === null && someSilent && !hasData(last) ? describeWithoutData(name, found) : null,
  }
}

/** A hold that was only intended has an epoch that its own disk has not seen committed: its Mount was never answered. */
function isHeldAt(copy: LocalCopy, epoch: number): boolean {
  return copy.held !== null && copy.held.epoch === epoch && copy.epochSeen >= copy.held.epoch
}

/** Its host was cut off, or is about to find out whether it was: the volume may have been taken over by a host that does not answer. */
function describeDoubtful(name: string, { host }: Found): string {
  return `Volume "${name}": host ${host} holds it by its own disk, but cannot be certain, and a host that did not answer may have taken it over. Bring that host back, or take it out of WHERRY_PEERS here if it is gone for good, then run this again.`
}

/** An empty tree may be what an older release left of a hold that never came about. */
function hasData(last: Checkpoint | null): boolean {
  return last !== null && !isEmptyTree(last)
}

/**
 * A silent host may hold it. No other host has a checkpoint, so that host does not fence itself and may be writing now.
 * An idle record would be mounted empty elsewhere.
 */
function describeWithoutData(name: string, found: readonly Found[]): string {
  const names = found.map(({ host }) => host).join(', ')
  const none = `no host that answered has usable data of it (known on ${names})`
  const silent = 'a host that did not answer may have its data and be writing to it'
  const hint = 'Bring that host back, or take it out of WHERRY_PEERS here if it is gone for good, then run this again.'
  return `Volume "${name}": ${none}, and ${silent}. ${hint}`
}

function toHolder({ host, copy }: Found, now: Date): Holder {
  return { host, incarnation: copy.held?.incarnation ?? '', since: now.toISOString() }
}

/** What is missing at most was written since the checkpoint; nobody knows until when. */
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
 * The highest committed checkpoint that some disk has whole, and keeps: the tree of a hold that was taken over is put
 * aside.
 */
function newestOf(name: string, found: readonly Found[]): Checkpoint | null | string {
  let newest: Checkpoint | null = null
  let over: Found | null = null
  for (const one of found) {
    const { copy } = one
    const { checkpoint } = copy
    if (checkpoint === null || copy.applying || copy.damaged !== null || isForged(copy)) continue
    if (copy.held !== null && !isOnlyIntended(copy)) {
      over = one
      continue
    }
    const order = newest === null ? 'newer' : orderOf(checkpoint, newest)
    // An older release gave an empty tree the name of the first checkpoint.
    if (order === 'conflict' && isEmptyTree(checkpoint)) continue
    if (order === 'conflict' && newest !== null && isEmptyTree(newest)) newest = checkpoint
    else if (order === 'conflict') {
      return `Volume "${name}": disks have different data under the same checkpoint ${checkpoint.epoch}.${checkpoint.seq}. Keep both directories and ask for help.`
    }
    if (order === 'newer') newest = checkpoint
  }
  return newest === null && over !== null ? describeOver(name, over) : newest
}

function describeOver(name: string, { host, copy }: Found): string {
  const has = `the only checkpoint is on host ${host}, whose hold (epoch ${copy.held?.epoch}) was taken over`
  return `Volume "${name}": ${has}. Bring the host back that went on from there, or keep the directory and ask for help.`
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
  return `Volume "${name}": disks have different volumes of that name: ${each.join('; ')}. Move the directory volumes/ID of the wrong one away on its host, then run this again.`
}
