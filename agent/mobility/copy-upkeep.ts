import type { VolumeRecord } from '../model.ts'
import type { LocalCopy } from '../store/contract.ts'
import { withdrawCopy } from './copy-record.ts'
import { isAt } from './copy-state.ts'
import type { Core } from './core.ts'
import { forEach } from './for-each.ts'
import { WANTED_AFTER_MOUNT_MS } from './mount.ts'

/** A volume that was just released is about to be held again somewhere: copies catch up when it has been quiet this long. */
const FOLLOW_AFTER_MS = 15_000

/** Since when which checkpoint of an idle volume was seen, by volume id. */
export type IdleSince = Map<string, { hash: string; sinceMs: number }>

/** Brings this host's copies of idle volumes to their newest checkpoint, one look of one source at a time. */
export async function followNewest(core: Core, idle: IdleSince): Promise<void> {
  const { registry, store, clock } = core.parts
  for (const local of (await store.copies()).copies) {
    if (local.held !== null || local.checkpoint === null) continue
    const record = (await registry.volume(local.name))?.value
    if (record?.id !== local.id || !wantsNewest(core, record, local)) {
      idle.delete(local.id)
      continue
    }
    const hash = record.last?.hash ?? ''
    const seen = idle.get(local.id)
    if (seen?.hash !== hash) idle.set(local.id, { hash, sinceMs: clock.elapsedMs() })
    else if (clock.elapsedMs() - seen.sinceMs >= FOLLOW_AFTER_MS) core.copying.want(record, 0)
  }
}

/** Only of idle volumes, while some other host that has the data lives, and never over a diverged copy (promise 7). */
function wantsNewest(core: Core, record: VolumeRecord, local: LocalCopy): boolean {
  const { self } = core.parts
  const mine = record.copies[self.id]
  if (record.holder !== null || record.last === null || mine === undefined || mine.state === 'diverged') return false
  if (mine.state === 'current' && isAt(local, record.last)) return false
  return Object.entries(record.copies).some(
    ([host, copy]) => host !== self.id && copy.state === 'current' && core.hosts.alive(host),
  )
}

/**
 * What was sent ahead, or copied in part, to a host where nobody wants it any more never became a copy. It goes, so that
 * hosts do not collect volumes they never had. After a start it is kept for as long as a Mount may come back for it. What the record says is kept here
 * goes on filling however long it takes.
 */
export async function dropUnborn(core: Core, startedMs: number): Promise<void> {
  const { store, clock } = core.parts
  if (clock.elapsedMs() - startedMs < WANTED_AFTER_MOUNT_MS) return
  await forEach((await store.copies()).copies, async ({ id, name }) => {
    await core.locks.run(id, async () => {
      const local = await store.copy(id)
      if (local === null || local.checkpoint !== null || local.held !== null || local.applying) return
      // The trash is emptied one day; what the cluster never got stays until a person removes it (promise 7).
      if (local.diverged.length > 0) return
      if (core.copying.job(id) !== undefined || core.pendingMounts.has(name)) return
      if (await withdrawCopy(core.parts, local)) await store.trash(id)
    })
  })
}
