import { requireSpareSpace, smallFileBytes, spaceOf } from '../disk/free-space.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { LargeNeed, Needs } from './missing-content.ts'
import { neededBytes } from './spool-writer.ts'

/** From this size on a file may be left out of the spool, if it is new or more than half of it has changed. */
const LEFT_OUT_FROM_BYTES = 64 * 1024 * 1024
const LEFT_OUT_SHARE = 0.5
/** The rest of the free space is left to the containers. */
const FREE_SHARE = 0.5

/** Whether so many bytes of a file of `sizeBytes` go into the spool only where there is space enough. */
export function mayBeLeftOut(sizeBytes: number, bytes: number): boolean {
  return sizeBytes >= LEFT_OUT_FROM_BYTES && bytes > LEFT_OUT_SHARE * sizeBytes
}

/**
 * Chooses what of `lacking` is copied. Rejects DISK_FULL when what must be copied does not fit.
 * Mostly new large files are left to the live tree where they would take more than half of the free space on the
 * disk of `path`. Everything else is copied.
 */
export async function affordable(
  path: string,
  volume: string,
  tree: SavedTree,
  lacking: Needs,
): Promise<Needs & { readonly bytes: number }> {
  const { small, large } = lacking
  if (small.length === 0 && large.length === 0) return { small, large, bytes: 0 }
  const isOptional = (need: LargeNeed) => mayBeLeftOut(tree.manifest.sizeBytes(need.index), neededBytes(tree, need))
  const smallBytes = small.reduce((sum, index) => sum + smallFileBytes(tree.manifest.sizeBytes(index)), 0)
  const certain = large.filter((need) => !isOptional(need))
  let bytes = certain.reduce((sum, need) => sum + neededBytes(tree, need), smallBytes)
  await requireSpareSpace(path, volume, bytes)
  const { freeBytes } = await spaceOf(path)
  const chosen = [...certain]
  for (const need of large.filter(isOptional)) {
    const more = neededBytes(tree, need)
    if (bytes + more > FREE_SHARE * freeBytes) continue
    bytes += more
    chosen.push(need)
  }
  return { small, large: chosen, bytes }
}
