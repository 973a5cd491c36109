import { rm } from 'node:fs/promises'
import type { Capture } from '../contract.ts'
import type { OpenScan, Scan } from '../scan/scan.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { Cursor } from '../tracker/contract.ts'
import type { Reflinks } from './reflinks.ts'

/** What the last round captured. */
export interface Captured {
  readonly tree: KeptTree
  readonly capture: Capture
  /** As of which it is exact, see TreeChanges. */
  readonly mark: Cursor
}

/** A look at a tree that goes on in its clones, or that is over. */
export class Frozen implements AsyncDisposable {
  /** Path of the block lists it writes. */
  readonly lists: string
  /** null: this look makes none. */
  readonly clones: Reflinks | null
  look: OpenScan | null = null
  /** Set: nothing is left to be done. */
  captured: Captured | null = null
  #finished = false

  constructor(lists: string, clones: Reflinks | null) {
    this.lists = lists
    this.clones = clones
  }

  /** Reads what is left to be read. Once only. */
  async finish(signal: AbortSignal): Promise<Scan> {
    if (this.look === null) throw new TypeError('nothing was looked at')
    const scan = await this.look.finish(signal)
    this.#finished = true
    return scan
  }

  /** Nothing may be reading from it. Lists of a look that was not finished go. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.clones?.[Symbol.dispose]()
    this.look?.[Symbol.dispose]()
    if (!this.#finished) await rm(this.lists, { force: true })
  }
}
