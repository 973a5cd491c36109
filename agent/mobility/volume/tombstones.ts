import type { RemovedRecord, VolumeRecord } from '../../model/model.ts'
import type { Versioned } from '../../registry/contract.ts'
import type { LocalCopy } from '../../store/contract.ts'
import { isUnused } from '../checkpoint/surrendered.ts'
import type { Context } from '../context.ts'
import { forEachVolume } from '../for-each-volume.ts'
import { type DiscardContext, discardRemoved } from './finish-removal.ts'

/**
 * A read of the registry is not older than this while there is a leader.
 * Before that nothing is reported, and a record that is missing ends no hold.
 */
const STALE_MS = 15_000

/** What acting on tombstones touches. */
type TombstoneContext = DiscardContext & Pick<Context, 'lease' | 'pendingMounts' | 'removalsSeen' | 'refusedTombstones'>

/**
 * Discards the copies that tombstones name for this host, and takes it off them.
 * The last host deletes the tombstone. One that the registry or a hold of this host contradicts is refused: the copy
 * stays, and the operator is told.
 */
export async function clearTombstones(
  context: TombstoneContext,
  tombstones: readonly Versioned<RemovedRecord>[],
): Promise<void> {
  const { registry, self, store } = context.dependencies
  const named = tombstones.filter(({ value }) => value.hosts.includes(self.id))
  for (const id of context.refusedTombstones.keys())
    if (!named.some(({ value }) => value.id === id)) context.refusedTombstones.delete(id)
  const clear = async ({ value, revision }: Versioned<RemovedRecord>) => {
    const local = await store.copy(value.id)
    // Data that is on its way for the first time is not given up without proof either. The tombstone's name proves
    // nothing.
    const found = local ?? context.copyManager.job(value.id)
    const record = found === undefined ? undefined : (await registry.volume(found.name))?.value
    const isMarked = record?.id === value.id && record.removedAt !== null
    if (isMarked) context.removalsSeen.add(value.id)
    const isProven = (now: LocalCopy | null) => {
      // What has come meanwhile is judged at the next scan.
      if (found === undefined) return now === null
      const why = contradictionOf(context, found.id, now, record)
      if (why !== null) refuse(context, found, why)
      return why === null
    }
    if (!isProven(local)) return
    if (!(await discardRemoved(context, value, isMarked || context.removalsSeen.has(value.id), isProven))) return
    context.refusedTombstones.delete(value.id)
    context.removalsSeen.delete(value.id)
    const hosts = value.hosts.filter((host) => host !== self.id)
    // A lost race or acknowledgement is repaired at the next scan.
    if (hosts.length === 0) await registry.deleteRemoved(value.id, revision)
    else await registry.updateRemoved({ ...value, hosts }, revision)
  }
  const pace = { troubles: context.volumeTroubles, step: 'discard the removed volume' }
  await forEachVolume(named, clear, { ...pace, volumeOf: ({ value }) => value })
}

/** Notes that the record of a volume that is held here was marked as removed: its name may be free in a moment. */
export function noteRemoval(context: Pick<Context, 'confirmed' | 'removalsSeen'>, record: VolumeRecord): void {
  if (record.removedAt !== null && context.confirmed.has(record.id)) context.removalsSeen.add(record.id)
}

/** Returns a line for each copy that a tombstone names and that was kept all the same. */
export function describeRefused(context: Pick<Context, 'dependencies' | 'refusedTombstones'>): string[] {
  const nowMs = context.dependencies.clock.elapsedMs()
  const lasting = [...context.refusedTombstones].filter(([, { sinceMs }]) => nowMs - sinceMs >= STALE_MS)
  return lasting.map(([id, { name, why }]) =>
    [
      `A tombstone says that volume "${name}" (${id}) was removed, but ${why}: this host keeps its data.`,
      'Somebody has written the tombstone by hand, or the registry has lost changes.',
      `To remove the volume after all, end its containers; if it is listed then, run "wherry rm ${name}".`,
    ].join(' '),
  )
}

/** Returns what contradicts a tombstone, as a clause; null: nothing does. */
function contradictionOf(
  context: Pick<
    Context,
    'dependencies' | 'lease' | 'pendingMounts' | 'confirmed' | 'removalsSeen' | 'refusedTombstones' | 'endedUses'
  >,
  id: string,
  local: LocalCopy | null,
  record: VolumeRecord | undefined,
): string | null {
  if (record?.id === id) return record.removedAt === null ? 'its record says that it exists' : null
  const isHeld = context.lease.runs && context.confirmed.has(id) && !context.removalsSeen.has(id)
  if (!isHeld || local === null) return null
  if (!isUnused(context, local) || context.pendingMounts.has(local.name))
    return 'this host holds it, and it is in use here'
  const { sinceMs } = context.refusedTombstones.get(id) ?? { sinceMs: Number.POSITIVE_INFINITY }
  return context.dependencies.clock.elapsedMs() - sinceMs >= STALE_MS ? null : 'this host holds it'
}

function refuse(
  context: Pick<Context, 'dependencies' | 'refusedTombstones'>,
  { id, name }: Pick<LocalCopy, 'id' | 'name'>,
  why: string,
): void {
  const { log, clock } = context.dependencies
  const sinceMs = context.refusedTombstones.get(id)?.sinceMs ?? clock.elapsedMs()
  const isNews = !context.refusedTombstones.has(id)
  context.refusedTombstones.set(id, { name, why, sinceMs })
  log[isNews ? 'warn' : 'debug']({ volume: name, id, why }, 'tombstone refused: it is contradicted, the copy stays')
}
