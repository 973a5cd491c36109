import { basename, join } from 'node:path'
import { bootTimeMs } from '../../sys/boot-time.ts'
import type { LocalCopy, RemovedCopy } from '../contract.ts'
import { asideDirectory, trashDirectory } from './layout.ts'
import { moveAside, type Named, removedCopies } from './removed-copies.ts'
import { emptyTrash, moveToTrash, trashedUntil } from './trash.ts'

/** Copies of removed volumes on one disk: in the trash, or set aside for an operator. See Store. */
export class RemovedVolumes {
  readonly #trash: string
  readonly #aside: string
  readonly #retentionMs: number
  readonly #trashed: Named = new Map()
  readonly #setAside: Named = new Map()

  constructor(stateDir: string, retentionMs: number) {
    this.#trash = trashDirectory(stateDir)
    this.#aside = asideDirectory(stateDir)
    this.#retentionMs = retentionMs
  }

  /** Moves a copy's directory to the trash. Durable on return. */
  async trash(directory: string, id: string): Promise<void> {
    await moveToTrash(directory, id, this.#trash, new Date())
  }

  /** Moves a copy's directory to where nothing deletes it; returns its place, below the state directory. */
  async setAside(directory: string, copy: LocalCopy): Promise<string> {
    return join(basename(this.#aside), await moveAside(directory, copy, this.#aside, new Date()))
  }

  async list(): Promise<RemovedCopy[]> {
    const until = await trashedUntil(this.#trash, this.#retentionMs, bootTimeMs(), new Date())
    const trashed = await removedCopies(this.#trash, until, this.#trashed)
    return [...trashed, ...(await removedCopies(this.#aside, null, this.#setAside))]
  }

  /**
   * Deletes what has been in the trash longer than the retention time; returns the names.
   * `elapsedMs`: since boot.
   */
  emptyTrash(elapsedMs: number): Promise<string[]> {
    return emptyTrash(this.#trash, this.#retentionMs, elapsedMs)
  }
}
