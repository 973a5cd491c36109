import { statfs } from 'node:fs/promises'
import { requireSpace, smallFileBytes } from '../disk/free-space.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { LargeNeed, Needs } from './missing-content.ts'
import { bytesOf } from './spool-writer.ts'

/** A file that is new, or of which more than half has changed, may be left out of the spool from this size on. */
const LEFT_OUT_FROM_BYTES = 64 * 1024 * 1024
const LEFT_OUT_SHARE = 0.5
/** The rest of the free space stays for what the containers write. */
const FREE_SHARE = 0.5

/** Whether so much of a file of `sizeBytes` goes into the spool only where there is room enough. */
export function mayBeLeftOut(sizeBytes: number, bytes: number): boolean {
  return sizeBytes >= LEFT_OUT_FROM_BYTES && bytes > LEFT_OUT_SHARE * sizeBytes
}

/**
 * What of `lacking` is to be copied: all, but for large files that are new for the most part where they would take more than half of what is free
 * on the disk of `path`. Those are left to the live tree. Rejects DISK_FULL when the rest does not fit.
 */
export async function affordable(
  path: string,
  volume: string,
  tree: KeptTree,
  lacking: Needs,
): Promise<Needs & { readonly bytes: number }> {
  const { small, large } = lacking
  if (small.length === 0 && large.length === 0) return { small, large, bytes: 0 }
  const isOptional = (need: LargeNeed) => mayBeLeftOut(tree.manifest.sizeBytes(need.index), bytesOf(tree, need))
  const smallBytes = small.reduce((sum, index) => sum + smallFileBytes(tree.manifest.sizeBytes(index)), 0)
  const certain = large.filter((need) => !isOptional(need))
  let bytes = certain.reduce((sum, need) => sum + bytesOf(tree, need), smallBytes)
  await requireSpace(path, volume, bytes)
  const { bavail, bsize } = await statfs(path)
  const chosen = [...certain]
  for (const need of large.filter(isOptional)) {
    const more = bytesOf(tree, need)
    if (bytes + more > FREE_SHARE * bavail * bsize) continue
    bytes += more
    chosen.push(need)
  }
  return { small, large: chosen, bytes }
}
