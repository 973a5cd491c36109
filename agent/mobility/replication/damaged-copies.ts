import type { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { changedAtRest } from '../errors.ts'
import { isAt } from '../record/copies.ts'
import { reportCurrent, reportDamaged } from '../record/report-copy.ts'
import { verifyVolume } from './verify.ts'

/** The heartbeat carries no more: it is written every second. */
const MOST_NAMED = 50

/** The copies of this disk that are not their checkpoint, with the first path each, for the heartbeat. */
export function damagedCopies(copies: readonly LocalCopy[]): Record<string, string> {
  const found = copies.flatMap(({ id, damaged }) => (damaged === null ? [] : [[id, damaged[0] ?? ''] as const]))
  return Object.fromEntries(found.slice(0, MOST_NAMED))
}

/**
 * A look has found another tree here than the record's checkpoint: nobody is to count on this copy from now on. Answers
 * why it is not used. May be repeated; while the registry is away, `settleDamage` tells it later.
 */
export async function tellDamaged(core: Context, record: VolumeRecord): Promise<WherryError> {
  const { parts, hosts } = core
  const damaged = (await parts.store.copy(record.id))?.damaged ?? null
  const refusal = changedAtRest(record, hosts.label(parts.self.id), damaged ?? [])
  // It may have been released since the look began: the next one tells.
  if (damaged === null) return refusal
  const level = record.copies[parts.self.id]?.state === 'current' ? 'error' : 'debug'
  parts.log[level]({ volume: record.name, id: record.id, damaged }, refusal.message)
  await reportDamaged(parts, record).catch((error: unknown) => {
    parts.log.debug({ err: error, volume: record.name }, 'the registry was not told that a copy is damaged')
  })
  return refusal
}

/**
 * Brings the record of an idle copy to what its disk says: whether it is damaged, or is whole again. May be repeated.
 */
export async function settleDamage({ parts }: Context, copy: LocalCopy, record: VolumeRecord): Promise<void> {
  const mine = record.copies[parts.self.id]
  if (mine === undefined || record.removedAt !== null) return
  if (copy.damaged !== null) return mine.state === 'current' ? await reportDamaged(parts, record) : undefined
  if (record.holder !== null || record.last === null || mine.state === 'diverged') return
  if (mine.state !== 'current' && isAt(copy, record.last)) await reportCurrent(parts, record)
}

/**
 * Another host did not get from here what this copy says it is, and a look shows nothing: reads all of it again, in the
 * background and not often. What is found is known to the registry then, and to all hosts.
 */
export function verifySoon(core: Context, { id, name }: LocalCopy): void {
  const { signal, log } = core.parts
  if (!core.checks.mayVerify(id)) return
  verifyVolume(core, name, signal).catch((error: unknown) => {
    log.info({ err: error, volume: name }, 'a copy that another host doubts could not be verified')
  })
}
