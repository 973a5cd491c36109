import type { Checkpoint } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { isSameTree, orderOf } from '../record/checkpoint-order.ts'
import { isForged } from '../record/copies.ts'
import { contradicted, unnamed } from './problems.ts'

/** One copy on a disk. */
export interface Found {
  readonly host: string
  readonly copy: LocalCopy
  /** If it is held: certain, as of now (Inventory.proven). */
  readonly proven: boolean
  /** If it is held: the host guards the volume (Inventory.guarded). */
  readonly guarded: boolean
}

/** How far other disks bear out what a volume is about to continue from. */
export interface Testimony {
  /** Why no record may be written from it, for an operator; null: one may. */
  readonly refusal: string | null
  /** Only one host has it, and other hosts with data have not seen its epoch. */
  readonly isLone: boolean
}

const BORNE_OUT: Testimony = { refusal: null, isLone: false }

/**
 * Compares what the volume is to continue from with what other disks have noted of its records. Pure.
 * One host may lie, or its disk may be wrong. What the registry said is on the disks of all hosts with copies.
 * `holder`: the host that holds the volume by its disk; null: it is idle.
 */
export function hearWitnesses(
  name: string,
  found: readonly Found[],
  holder: Found | null,
  last: Checkpoint | null,
): Testimony {
  const surer = found.find(({ proven, copy }) => proven && copy.held !== null && copy !== holder?.copy)
  const owner = holder ?? found.find(({ copy }) => last !== null && isSameTree(copy.checkpoint, last))
  if (owner === undefined) {
    if (surer === undefined) return BORNE_OUT
    return { refusal: contradicted(name, 'a later hold', found[0]?.host ?? '', surer.host), isLone: false }
  }
  if (surer !== undefined) return { refusal: contradicted(name, claimOf(owner), owner.host, surer.host), isLone: false }
  const others = found.filter(({ host, copy }) => host !== owner.host && !isSameTree(copy.checkpoint, last))
  const against = others.find(({ copy }) => (holder === null ? deniesCheckpoint(copy, last) : deniesHold(copy, holder)))
  if (against !== undefined) {
    return { refusal: contradicted(name, claimOf(owner), owner.host, against.host), isLone: false }
  }
  if (last === null || !isOnlyAt(found, last)) return BORNE_OUT
  const withData = others.filter(({ copy }) => copy.checkpoint !== null && !isForged(copy))
  const isSeen = others.some(({ copy }) => Math.max(copy.epochSeen, copy.recordSeen?.epoch ?? 0) >= last.epoch)
  if (withData.length === 0 || isSeen) return BORNE_OUT
  // Disks of older releases have noted nothing.
  const isNoted = owner.proven || (owner.copy.recordSeen?.epoch ?? 0) >= last.epoch
  const isMarked = others.some(({ copy }) => copy.recordSeen !== null)
  const refusal = isNoted || !isMarked ? null : unnamed(name, owner.host, last)
  return { refusal, isLone: true }
}

function claimOf({ copy }: Found): string {
  const { held, checkpoint } = copy
  if (held !== null) return `a hold of epoch ${held.epoch}`
  return checkpoint === null ? 'no data' : `checkpoint ${checkpoint.epoch}.${checkpoint.seq}`
}

function isOnlyAt(found: readonly Found[], last: Checkpoint): boolean {
  return found.filter(({ copy }) => isSameTree(copy.checkpoint, last)).length === 1
}

/** Whether a disk has seen the volume idle, in that epoch or later, at an older checkpoint or another of that order. */
function deniesCheckpoint({ recordSeen }: LocalCopy, last: Checkpoint | null): boolean {
  if (recordSeen === null || recordSeen.holder !== null || last === null || last.epoch > recordSeen.epoch) return false
  const order = recordSeen.last === null ? 'newer' : orderOf(last, recordSeen.last)
  return order === 'newer' || order === 'conflict'
}

/**
 * Whether a disk has seen another hold in that epoch, or the volume idle after it at another checkpoint.
 * A host that was killed in its release still has the hold, and the checkpoint of the release.
 */
function deniesHold({ recordSeen }: LocalCopy, { copy, host }: Found): boolean {
  const { held, checkpoint } = copy
  if (recordSeen === null || held === null || recordSeen.epoch !== held.epoch) return false
  const { holder, last } = recordSeen
  if (holder === null) return !isSameTree(checkpoint, last)
  return holder.host !== host || holder.incarnation !== held.incarnation
}
