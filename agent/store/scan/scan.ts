import type { BlockListFile } from '../snapshot/block-lists.ts'
import type { InodeStates } from '../snapshot/inode-states.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import { SnapshotBuilder } from '../snapshot/snapshot-builder.ts'
import type { Suspect } from './audit-blocks.ts'
import { Walk } from './walk.ts'
import type { WalkOptions } from './walk-options.ts'

export interface Scan extends Snapshot {
  readonly seen: InodeStates
  readonly lists: BlockListFile
  /**
   * How many files were read because they could have changed, and their bytes without holes.
   * The others were recognised as unchanged.
   */
  readonly filesRead: number
  readonly bytesRead: number
  /** False: the signal cut the scan off; what was seen until then is valid. Never in a quiet scan. */
  readonly complete: boolean
  /** Blocks with an unknown change: written to since the changes were queried, or missed by the tracker. */
  readonly suspects: readonly Suspect[]
}

export interface ScanOptions extends WalkOptions {
  /** Path of the file for the block lists. It is created only when a saved one does not serve as it is. */
  readonly lists: string
}

/**
 * Walks the tree under the held directory `root` and describes every entry. Nothing is synced.
 * The pool reads files while the walk continues. When nothing changed, the result is the saved tree itself.
 * TREE_UNSUPPORTED: a manifest cannot represent an entry. TREE_CHANGED: only with `quiet`.
 * Rejects the signal's reason (only with `quiet`), and errors of the disk.
 */
export async function scanTree(root: number, options: ScanOptions): Promise<Scan> {
  using scan = await openScan(root, options)
  return await scan.finish(options.signal)
}

/**
 * As `scanTree`, but leaves what `options.contentSink` has cloned to be read by `finish`.
 * The tree may change from then on. The result must be closed.
 */
export async function openScan(root: number, options: ScanOptions): Promise<OpenScan> {
  const base = options.known?.live ?? options.known?.last ?? null
  const out = new SnapshotBuilder(base, options.lists, base?.lists, options.limits)
  try {
    const walk = new Walk(root, options, out)
    return new OpenScan(walk, out, await walk.run())
  } catch (error) {
    out[Symbol.dispose]()
    throw error
  }
}

/** A finished scan whose clones may still have to be read. */
export class OpenScan implements Disposable {
  readonly #walk: Walk
  readonly #out: SnapshotBuilder
  readonly #complete: boolean

  constructor(walk: Walk, out: SnapshotBuilder, complete: boolean) {
    this.#walk = walk
    this.#out = out
    this.#complete = complete
  }

  /** Reads the clones. Call it once only. */
  async finish(signal: AbortSignal): Promise<Scan> {
    const { hasher } = this.#walk
    await hasher.readClones(signal)
    const { filesRead, bytesRead, missing } = hasher
    const { suspects } = this.#walk
    return { ...(await this.#out.finish(missing)), filesRead, bytesRead, complete: this.#complete, suspects }
  }

  [Symbol.dispose](): void {
    this.#out[Symbol.dispose]()
  }
}
