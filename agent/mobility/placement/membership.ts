import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { Context } from '../context.ts'
import { restartCopy } from '../hold/give-up-hold.ts'
import { copyFields, orderOf } from '../record/checkpoint-order.ts'
import { NO_CHECKPOINT, withCopy, withoutCopy } from '../record/copies.ts'
import { isInLine } from '../record/lineage.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'
import { mayGiveUp, type PlacementHost, placeCopies } from './policy.ts'

/** Bound of one registry write; the next look tries again. */
const WRITE_MS = 5_000

type Change = VolumeRecord | null | typeof STALE_READ

/** Writes this host into the record as one that keeps a copy, unless somebody else took the place meanwhile. */
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
    // A holder learns in its own write, and never later, that somebody could take over from it: a tree that it does not know of waits for that.
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
 * A tree that was left over here, at a checkpoint that the volume has gone on from, is no copy that its holder knows of, and must not become one behind its
 * back. It is worth nothing but the blocks that need not come again: its checkpoint is forgotten, durably, before the record is joined.
 */
async function forgetOld(
  context: Pick<Context, 'dependencies' | 'locks'>,
  seen: VolumeRecord,
  local: LocalCopy | null,
): Promise<LocalCopy | null> {
  const { store, self } = context.dependencies
  if (local !== null && local.held === null && seen.last === null && seen.copies[self.id] === undefined) {
    // The volume has no checkpoint yet, and whoever takes the first one does not know of this copy: what it has is
    // none.
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

/** Writes down that this host's copy is one too many, if it is. */
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

/** Writes a copy at rest that an idle volume's record does not know into it; what it is worth is found out like any other's. */
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

/** True when this host's entry is off the record by a write of this call, which looked whether enough others are current. */
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
    // The registry has lost changes since: it is not to be believed about anybody's copy.
    if (local !== null && local.epochSeen > record.epoch) return record
    const mine = record.copies[self.id]
    if (mine === undefined) {
      // Only after a write of ours whose answer was lost; a read alone may be older than the entry.
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

/** Newer than all the cluster has: whatever the reason, it is not for housekeeping to judge. */
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
