import { rm } from 'node:fs/promises'
import type { Capture } from '../contract.ts'
import type { OpenScan, Scan } from '../scan/scan.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Cursor } from '../tracker/contract.ts'
import type { Reflinks } from './reflinks.ts'

/** Result of a checkpoint's last round. */
export interface CapturedTree {
  readonly tree: SavedTree
  readonly capture: Capture
  /** The tree is exact as of this mark, see TreeChanges. */
  readonly mark: Cursor
}

/** A scan whose clones are still to be read, or that is finished. */
export class FrozenScan implements AsyncDisposable {
  /** Path of the block lists it writes. */
  readonly lists: string
  /** Null: this scan makes none. */
  readonly clones: Reflinks | null
  scan: OpenScan | null = null
  /** Set: nothing is left to be read. */
  captured: CapturedTree | null = null
  #finished = false

  constructor(lists: string, clones: Reflinks | null) {
    this.lists = lists
    this.clones = clones
  }

  /** Reads the clones. Call it once only. */
  async finish(signal: AbortSignal): Promise<Scan> {
    if (this.scan === null) throw new TypeError('nothing was scanned')
    const scan = await this.scan.finish(signal)
    this.#finished = true
    return scan
  }

  /** Nothing may be reading from it. Removes the lists of a scan that was not finished. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.clones?.[Symbol.dispose]()
    this.scan?.[Symbol.dispose]()
    if (!this.#finished) await rm(this.lists, { force: true })
  }
}
