import type { ListFile } from '../snapshot/block-lists.ts'
import type { InodeStates } from '../snapshot/inode-states.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { Suspect } from './audit-blocks.ts'
import { Walk } from './walk.ts'
import type { WalkOptions } from './walk-options.ts'

export interface Scan extends Snapshot {
  readonly seen: InodeStates
  readonly lists: ListFile
  /** How many files were read because they could have changed, and their bytes without holes; the rest was recognised as unchanged. */
  readonly filesRead: number
  readonly bytesRead: number
  /** False: the signal cut it off; what was seen until then stands. Only a look that is not quiet ends so. */
  readonly complete: boolean
  /** Blocks whose change was not known: they were written to since the changes were asked for, or whoever tells of changes is wrong. */
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
  using look = await lookAround(root, options)
  return await look.finish(options.signal)
}

/** As `scanTree`, but that what `options.keeping` has cloned is not read yet: what the tree becomes does not matter any more. To be closed. */
export async function lookAround(root: number, options: ScanOptions): Promise<OpenScan> {
  const out = new SnapshotBuilder(options.known?.live ?? options.known?.last ?? null, options.lists)
  try {
    const walk = new Walk(root, options, out)
    return new OpenScan(walk, out, await walk.run())
  } catch (error) {
    out[Symbol.dispose]()
    throw error
  }
}

/** A look at a tree that is over, of which clones may be left to be read. */
export class OpenScan implements Disposable {
  readonly #walk: Walk
  readonly #out: SnapshotBuilder
  readonly #complete: boolean

  constructor(walk: Walk, out: SnapshotBuilder, complete: boolean) {
    this.#walk = walk
    this.#out = out
    this.#complete = complete
  }

  /** Reads what is left to be read. Once only. */
  async finish(signal: AbortSignal): Promise<Scan> {
    const { reading } = this.#walk
    await reading.readClones(signal)
    const { filesRead, bytesRead, missing } = reading
    const { suspects } = this.#walk
    return { ...(await this.#out.finish(missing)), filesRead, bytesRead, complete: this.#complete, suspects }
  }

  [Symbol.dispose](): void {
    this.#out[Symbol.dispose]()
  }
}
