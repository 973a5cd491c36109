import type { WherryError } from '../../model/errors.ts'
import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { isAt } from '../record/copies.ts'
import { reportCurrent, reportDamaged } from '../record/report-copy.ts'
import { changedAtRest } from './errors.ts'
import { verifyVolume } from './verify.ts'

/**
 * Tells the registry that a scan found another tree here than the record's checkpoint.
 * Returns the refusal of this copy.
 * May be repeated; while the registry is away, `reconcileDamage` tells it later.
 */
export async function reportFoundDamage(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  record: VolumeRecord,
): Promise<WherryError> {
  const { dependencies, hosts } = context
  const damaged = (await dependencies.store.copy(record.id))?.damaged ?? null
  const refusal = changedAtRest(record, hosts.label(dependencies.self.id), damaged ?? [])
  // It may have been released since the scan began: the next scan tells.
  if (damaged === null) return refusal
  const level = record.copies[dependencies.self.id]?.state === 'current' ? 'error' : 'debug'
  const about = { err: refusal, volume: record.name, id: record.id, damaged }
  dependencies.log[level](about, 'copy damaged: neither mounted nor sent')
  await reportDamaged(dependencies, record).catch((error: unknown) => {
    dependencies.log.debug({ err: error, volume: record.name }, 'damaged copy not reported yet')
  })
  return refusal
}

/** Brings the record of an idle copy to what its disk says: damaged, or whole again. May be repeated. */
export async function reconcileDamage(
  { dependencies }: Pick<Context, 'dependencies'>,
  copy: LocalCopy,
  record: VolumeRecord,
): Promise<void> {
  const mine = record.copies[dependencies.self.id]
  if (mine === undefined || record.removedAt !== null) return
  if (copy.damaged !== null) return mine.state === 'current' ? await reportDamaged(dependencies, record) : undefined
  if (record.holder !== null || record.last === null || mine.state === 'diverged') return
  if (mine.state !== 'current' && isAt(copy, record.last)) await reportCurrent(dependencies, record)
}

/**
 * Reads a copy again because another host doubts it and a scan found nothing.
 * That runs in the background and not often. The registry, and so all hosts, learn what is found.
 */
export function verifySoon(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'treeChecks'>,
  { id, name }: LocalCopy,
): void {
  const { signal, log } = context.dependencies
  if (!context.treeChecks.mayVerify(id)) return
  verifyVolume(context, name, signal).catch((error: unknown) => {
    log.info({ err: error, volume: name }, 'verification of a doubted copy failed')
  })
}
