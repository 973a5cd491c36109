import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import type { VerifyView } from '../contract.ts'
import { notFound } from '../errors.ts'
import { ownLabel } from '../own-host.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { reportCurrent, reportDamaged } from '../record/report-copy.ts'
import { COMMAND_WAIT_MS, readVolume } from '../record/update-record.ts'
import { noCopy } from './errors.ts'

/**
 * A repair is retried for this long when no other host delivers at once.
 * Later the catch-up retries it.
 */
const REPAIR_WANTED_MS = 60_000

/**
 * Reads this host's copy of an idle volume again, every byte, and compares it with its checkpoint.
 * A damaged copy is neither mounted nor sent from then on. Its damaged blocks are fetched from another host that has
 * the checkpoint, in the background.
 * The store ends the reading when anything else, a Mount first of all, wants the tree.
 * VOLUME_NOT_FOUND; NOT_AT_CHECKPOINT: no copy here; VOLUME_IN_USE: held here, or wanted meanwhile. May be repeated.
 */
export async function verifyVolume(
  context: Pick<Context, 'dependencies' | 'hosts' | 'copyManager' | 'treeChecks'>,
  name: string,
  signal: AbortSignal,
): Promise<VerifyView> {
  const { dependencies } = context
  const limit = AbortSignal.any([dependencies.signal, signal, dependencies.clock.deadline(COMMAND_WAIT_MS)])
  const record = (await readVolume(dependencies, name, limit))?.value
  if (record === undefined || record.removedAt !== null) throw notFound(name)
  const local = await dependencies.store.copy(record.id)
  if (local === null || local.checkpoint === null) throw noCopy(name, ownLabel(context))
  const verify = () => dependencies.store.verify(local.id, AbortSignal.any([dependencies.signal, signal]))
  const found = await context.treeChecks.verify(local.id, verify)
  const repairing = found.damagedCount > 0 && (await repair(context, record, local))
  // The registry may have it as damaged.
  if (found.damagedCount === 0) await reportCurrent(dependencies, { ...record, last: local.checkpoint })
  return {
    volume: name,
    host: context.hosts.label(dependencies.self.id),
    checkpoint: { epoch: local.checkpoint.epoch, seq: local.checkpoint.seq },
    ...found,
    repairing,
  }
}

/** Reports the damage and starts to fetch what is damaged. False: no other host has this checkpoint. */
async function repair(
  context: Pick<Context, 'dependencies' | 'copyManager'>,
  record: VolumeRecord,
  before: LocalCopy,
): Promise<boolean> {
  const { dependencies } = context
  const local = await dependencies.store.copy(record.id)
  dependencies.log.error(
    { volume: record.name, id: record.id, damaged: local?.damaged },
    'copy damaged: not used until it is repaired from another host',
  )
  await reportDamaged(dependencies, record)
  const newest = record.last !== null && isSameTree(record.last, before.checkpoint)
  const others = Object.entries(record.copies).some(
    ([host, copy]) => newest && host !== dependencies.self.id && copy.state === 'current',
  )
  if (others && record.holder === null) context.copyManager.want(record, REPAIR_WANTED_MS)
  return others
}
