import type { ListFile } from '../snapshot/lists.ts'
import type { SeenTable } from '../snapshot/seen.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { Suspect } from './audit.ts'
import { SnapshotBuilder } from './snapshot-builder.ts'
import { Walk } from './walk.ts'
import type { WalkOptions } from './walk-options.ts'

export interface Scan extends Snapshot {
  readonly seen: SeenTable
  readonly lists: ListFile
  /** How many files were read because they could have changed, and their bytes without holes; the rest was recognised as unchanged. */
  readonly filesRead: number
  readonly bytesRead: number
  /** False: the signal cut it off; what was seen until then stands. Only a look that is not quiet ends so. */
  readonly complete: boolean
  /** What the audit found changed and nobody had told of: it was written to since the changes were asked for, or whoever tells of changes is wrong. */
  readonly suspects: readonly Suspect[]
}

export interface ScanOptions extends WalkOptions {
  /** Path of the file that the block lists are written to. It is made only when a kept one does not serve as it is. */
  readonly lists: string
}

/**
 * Walks the tree under the held directory `root` and describes every entry. Files are read by the pool while the walk
 * goes on. When nothing changed, the result is the kept snapshot itself. Rejects TREE_UNSUPPORTED for what a manifest cannot say,
 * TREE_CHANGED (quiet only), the signal's reason (quiet only), and what the disk answers. Nothing is synced.
 */
export async function scanTree(root: number, options: ScanOptions): Promise<Scan> {
  using out = new SnapshotBuilder(options.known?.live ?? options.known?.last ?? null, options.lists)
  const walk = new Walk(root, options, out)
  const complete = await walk.run(root)
  const { filesRead, bytesRead, missing } = walk.reading
  return { ...(await out.finish(missing)), filesRead, bytesRead, complete, suspects: walk.suspects }
}
