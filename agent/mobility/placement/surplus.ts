import type { VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { askForCopy } from '../failover/candidates.ts'
import { isKnownCopy } from '../record/copies.ts'
import { wereOthersSound } from './comparison.ts'
import { isDraining } from './hosts.ts'
import { leaveRecord, markSurplus, rejoinRecord } from './membership.ts'
import type { PlacementMemory } from './memory.ts'
import type { PlacementHost } from './placement-host.ts'
import { mayGiveUp } from './policy.ts'

/** A living holder replies at once; one that does not is asked again with the next look at all copies. */
const REPLY_MS = 1_000

/**
 * Drops this host's surplus copy.
 * At once when drained, else when the volume has not moved for the grace time.
 * A volume that moves back and forth keeps both its copies.
 */
export async function dropSurplus(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks' | 'node' | 'pendingMounts'>,
  record: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
  memory: PlacementMemory,
): Promise<void> {
  const { clock, self, replaceAfterMs } = context.dependencies
  const mine = record.copies[self.id]
  const checkpoint = local?.checkpoint ?? null
  if (
    mine === undefined &&
    checkpoint !== null &&
    record.holder === null &&
    whyBusy(context, record.name, local) === null
  ) {
    // Dropped from the record, and killed before the trash: the record must have it before it may go.
    await rejoinRecord(context, record, checkpoint)
  }
  if (mine === undefined || mine.state === 'diverged' || (mine.state === 'filling' && !mine.kept)) return
  if (whyBusy(context, record.name, local) !== null) {
    memory.surplus.delete(record.id)
    return
  }
  // Of equally good copies the kept ones stay, so a copy that the volume has left must not be a kept one.
  if (mine.kept && mine.state !== 'filling') await markSurplus(context, record, hosts)
  const sinceMs = noteSurplus(memory, record, clock.elapsedMs())
  if (isDraining(context) || clock.elapsedMs() - sinceMs >= replaceAfterMs)
    await dropCopy(context, record, hosts, memory)
}

/**
 * Returns since when the copy has been surplus and the volume has not moved.
 * A hold that was too short to be seen may have been anywhere.
 */
function noteSurplus(memory: PlacementMemory, { id, holder, epoch }: VolumeRecord, nowMs: number): number {
  const before = memory.surplus.get(id)
  const host = holder?.host ?? (before?.epoch === epoch ? before.holder : null)
  const moved = before === undefined || (holder === null ? before.epoch !== epoch : before.holder !== host)
  const sinceMs = moved ? nowMs : before.sinceMs
  memory.surplus.set(id, { holder: host, epoch, sinceMs })
  return sinceMs
}

/** Returns why a copy cannot be dropped now, whatever the record says; null: it can. */
export function whyBusy(
  context: Pick<Context, 'copyManager' | 'pendingMounts'>,
  name: string,
  local: LocalCopy | null,
): string | null {
  if (context.pendingMounts.has(name)) return 'a container that is being started waits for it'
  if (local === null) return null
  if (local.diverged.length > 0)
    return `writes that the cluster never got are kept beside it (volumes/${local.id}/diverged)`
  if (local.held !== null || Object.keys(local.mounts).length > 0) return 'it is in use here'
  if (local.applying || context.copyManager.job(local.id) !== undefined) return 'it is being written to'
  return null
}

/**
 * Takes this host's copy off the record and moves it to the trash.
 * That is under the volume's lock, so that no Mount intervenes. The copies that stay are compared with their
 * checkpoint first: an idle one may have been changed.
 */
async function dropCopy(
  context: Pick<Context, 'dependencies' | 'hosts' | 'locks' | 'copyManager' | 'treeChecks' | 'pendingMounts'>,
  record: VolumeRecord,
  hosts: readonly PlacementHost[],
  memory: PlacementMemory,
): Promise<void> {
  const { store, log, self, clock, signal } = context.dependencies
  const { holder, last } = record
  // Of a volume that is held its holder has all there is. The record alone does not show that.
  if (holder !== null) {
    const inTime = AbortSignal.any([signal, clock.deadline(REPLY_MS)])
    const reply = await askForCopy(context, record, holder.host, inTime).catch(() => undefined)
    if (reply?.held !== true) return
  }
  if (holder === null && last !== null && isKnownCopy(record.copies[self.id])) {
    if (!mayGiveUp(record, self.id, hosts, (id) => context.hosts.alive(id))) return
    if (!(await wereOthersSound(context, record, last, memory))) return
  }
  await context.locks.run(record.id, async () => {
    const local = await store.copy(record.id)
    if (whyBusy(context, record.name, local) !== null || (await store.mounted()).has(record.id)) return
    if (!(await leaveRecord(context, record, local, hosts)) || local === null) return
    if (local.checkpoint === null) await store.dropStage(record.id)
    await store.trash(record.id)
    log.info({ volume: record.name, id: record.id }, 'surplus copy moved to the trash')
  })
}
