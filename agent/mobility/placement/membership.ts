import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { restartCopy } from '../hold/give-up-hold.ts'
import { copyFields, orderOf } from '../record/checkpoint-order.ts'
import { NO_CHECKPOINT, withCopy, withoutCopy } from '../record/copies.ts'
import { isInLine } from '../record/lineage.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'
import type { PlacementHost } from './placement-host.ts'
import { mayGiveUp, placeCopies } from './policy.ts'

/** Bound of one registry write; the next scan retries it. */
const WRITE_MS = 5_000

type Change = VolumeRecord | null | typeof STALE_READ

/** Writes this host into the record as one that keeps a copy, unless another took the place meanwhile. */
export async function joinRecord(
  context: Pick<Context, 'dependencies' | 'locks'>,
  seen: VolumeRecord,
  before: LocalCopy | null,
  hosts: readonly PlacementHost[],
): Promise<boolean> {
  const { self, clock, log } = context.dependencies
  const local = await forgetOld(context, seen, before)
  const committed = local?.held === null && !local.applying ? local.checkpoint : null
  let joined = false
  const change = (record: VolumeRecord | null): Change => {
    joined = false
    if (record === null || record.id !== seen.id || record.removedAt !== null) return record
    if (record.epoch < seen.epoch) return STALE_READ
    const mine = record.copies[self.id]
    joined = mine?.kept === true
    if (joined || !placeCopies(record, hosts).includes(self.id)) return record
    // A holder learns only by its own write that it could be taken over from: a tree that it does not know has to
    // wait.
    if (mine === undefined && local !== null && local.checkpoint !== null && record.holder !== null) return record
    joined = true
    const at = clock.now().toISOString()
    if (mine !== undefined) return withCopy(record, self.id, { ...mine, kept: true })
    const known =
      committed === null
        ? { ...NO_CHECKPOINT, state: 'filling' as const }
        : { ...copyFields(committed), state: 'behind' as const }
    return withCopy(record, self.id, { ...known, at, kept: true })
  }
  const { written } = await changeVolume(context.dependencies, seen.name, change, writeTime(context))
  if (written && seen.copies[self.id] === undefined) log.info({ volume: seen.name }, 'copy placed on this host')
  return joined
}

/**
 * Forgets, durably, the checkpoint of a leftover tree before the record is joined.
 * The holder does not know this copy, and it must not become one without the holder's write. Its blocks stay and need
 * not come again.
 */
async function forgetOld(
  context: Pick<Context, 'dependencies' | 'locks'>,
  seen: VolumeRecord,
  local: LocalCopy | null,
): Promise<LocalCopy | null> {
  const { store, self } = context.dependencies
  if (local !== null && local.held === null && seen.last === null && seen.copies[self.id] === undefined) {
    // The volume has no checkpoint yet, and the host that takes the first one does not know this copy: what it has
    // does not count.
    await restartCopy(context, local, seen)
    return await store.copy(seen.id)
  }
  const isOld = (copy: LocalCopy | null) =>
    copy !== null && copy.held === null && !copy.applying && copy.checkpoint !== null && isInLine(seen, copy.checkpoint)
  if (seen.holder === null || seen.copies[self.id] !== undefined || !isOld(local)) return local
  return await context.locks.run(seen.id, async () => {
    const now = await store.copy(seen.id)
    return isOld(now) ? await store.update(seen.id, { checkpoint: null }) : now
  })
}

/** Marks this host's copy as surplus in the record, if it is. */
export async function markSurplus(
  context: Pick<Context, 'dependencies'>,
  seen: VolumeRecord,
  hosts: readonly PlacementHost[],
): Promise<void> {
  const { self } = context.dependencies
  const change = (record: VolumeRecord | null): Change => {
    if (record === null || record.id !== seen.id) return record
    if (record.epoch < seen.epoch) return STALE_READ
    const mine = record.copies[self.id]
    if (mine === undefined || !mine.kept || mine.state === 'filling') return record
    return placeCopies(record, hosts).includes(self.id) ? record : withCopy(record, self.id, { ...mine, kept: false })
  }
  await changeVolume(context.dependencies, seen.name, change, writeTime(context))
}

/**
 * Writes an idle copy that the record does not know into it, as behind.
 * Its worth is found out like any other's.
 */
export async function rejoinRecord(
  context: Pick<Context, 'dependencies'>,
  seen: VolumeRecord,
  checkpoint: Checkpoint,
): Promise<void> {
  const { self, clock } = context.dependencies
  const change = (record: VolumeRecord | null): Change => {
    if (record === null || record.id !== seen.id || record.removedAt !== null) return record
    if (record.holder !== null || record.copies[self.id] !== undefined) return record
    const at = clock.now().toISOString()
    return withCopy(record, self.id, { ...copyFields(checkpoint), state: 'behind', at, kept: true })
  }
  await changeVolume(context.dependencies, seen.name, change, writeTime(context))
}

/** Takes this host's entry off the record. True: this call wrote that, and enough others were current. */
export async function leaveRecord(
  context: Pick<Context, 'dependencies' | 'hosts'>,
  seen: VolumeRecord,
  local: LocalCopy | null,
  hosts: readonly PlacementHost[],
): Promise<boolean> {
  const { self } = context.dependencies
  let tried = false
  let left = false
  const change = (record: VolumeRecord | null): Change => {
    left = false
    if (record === null || record.id !== seen.id) return record
    if (record.epoch < seen.epoch) return STALE_READ
    // The registry has lost changes since: what it says about copies cannot be relied on.
    if (local !== null && local.epochSeen > record.epoch) return record
    const mine = record.copies[self.id]
    if (mine === undefined) {
      // Only after an unacknowledged write of ours; a read alone may be older than the entry.
      left = tried
      return record
    }
    const checkpoint = local?.checkpoint ?? null
    const isEmpty = checkpoint === null && mine.state === 'filling' && record.holder?.host !== self.id
    const mayGo = isEmpty
      ? !placeCopies(record, hosts).includes(self.id)
      : mayGiveUp(record, self.id, hosts, (id) => context.hosts.alive(id)) && !isAbove(checkpoint, record)
    if (!mayGo) return record
    tried = true
    left = true
    return withoutCopy(record, self.id)
  }
  await changeVolume(context.dependencies, seen.name, change, writeTime(context))
  return left
}

/** Whether it is newer than all the cluster has: the reconcile loop does not judge why. */
function isAbove(checkpoint: Checkpoint | null, { last }: VolumeRecord): boolean {
  if (checkpoint === null) return false
  if (last === null) return true
  const order = orderOf(checkpoint, last)
  return order === 'newer' || order === 'conflict'
}

function writeTime(context: Pick<Context, 'dependencies'>): AbortSignal {
  const { signal, clock } = context.dependencies
  return AbortSignal.any([signal, clock.deadline(WRITE_MS)])
}
