import { SystemCallError } from '../../sys/failure.ts'
import { dataLost } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { dropCachedTree } from '../inode/page-cache.ts'
import { FsClock } from '../scan/fs-clock.ts'
import { dropSaved } from '../snapshot/saved-snapshot.ts'
import { dropCommit, hasCommit } from './journal.ts'

/**
 * Syncs what was staged and applied, and discards what the disk has lost.
 * The kernel reports once that it could not write data it had taken, and continues to show them from memory.
 * Hashing them again would then succeed until a reboot.
 */
export class StageSync {
  readonly #layout: Layout
  readonly #volume: string
  readonly #dropStage: () => Promise<void>
  /** Open from the first sync, which comes before anything is staged, until the stage is dropped. */
  #tick: FsClock | null = null
  /** True: data were lost, and what may be missing still counts as staged. */
  #doubtful = false

  constructor(layout: Layout, volume: string, dropStage: () => Promise<void>) {
    this.#layout = layout
    this.#volume = volume
    this.#dropStage = dropStage
  }

  /** See Stage.sync. */
  async sync(): Promise<bigint> {
    if (this.#doubtful) await this.#discardState()
    const fresh = this.#tick === null
    this.#tick ??= await FsClock.open(this.#layout.tick)
    let tickNs: bigint
    try {
      tickNs = await this.#tick.sync()
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error
      this.#doubtful = true
      // If even that fails, the next sync begins with it.
      await this.#discardState().catch(() => {})
      throw dataLost(error, this.#layout.directory, this.#volume)
    }
    // What an earlier process left may be lost too, and the kernel may have reported it to another program.
    if (fresh) await this.#dropCached()
    return tickNs
  }

  /** Nothing is staged any more. */
  async close(): Promise<void> {
    const tick = this.#tick
    this.#tick = null
    await tick?.[Symbol.asyncDispose]()
  }

  /**
   * Abandons an unfinished apply: the copy stays `applying` until it is filled again.
   * Only what is on the disk counts of its tree.
   */
  async #discardState(): Promise<void> {
    await this.#dropCached()
    if (await hasCommit(this.#layout)) {
      await dropSaved(this.#layout.directory, 'live')
      await dropCommit(this.#layout)
    }
    await this.#dropStage()
    this.#doubtful = false
  }

  async #dropCached(): Promise<void> {
    await dropCachedTree(this.#layout.stage)
    if (await hasCommit(this.#layout)) await dropCachedTree(this.#layout.data)
  }
}
