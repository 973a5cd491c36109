import { SystemCallError } from '../../sys/failure.ts'
import { dataLost } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { dropCachedTree } from '../inode/page-cache.ts'
import { FsClock } from '../scan/fs-clock.ts'
import { dropKept } from '../snapshot/saved-snapshot.ts'
import { dropCommit, hasCommit } from './journal.ts'

/**
 * Syncs what was staged and applied, and sees to it that nothing is believed that the disk has lost. The kernel tells once that it could
 * not write data it had taken, and goes on showing them from memory: what is hashed again then looks right until a reboot.
 */
export class StageSync {
  readonly #layout: Layout
  readonly #volume: string
  readonly #dropStage: () => Promise<void>
  /** Open from the first sync on, which comes before anything is staged, until the stage is dropped. */
  #tick: FsClock | null = null
  /** Data were lost, and what may be missing is still there to be believed. */
  #doubtful = false

  constructor(layout: Layout, volume: string, dropStage: () => Promise<void>) {
    this.#layout = layout
    this.#volume = volume
    this.#dropStage = dropStage
  }

  /** See Stage.sync. */
  async sync(): Promise<bigint> {
    if (this.#doubtful) await this.#distrust()
    const fresh = this.#tick === null
    this.#tick ??= await FsClock.open(this.#layout.tick)
    let tickNs: bigint
    try {
      tickNs = await this.#tick.sync()
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error
      this.#doubtful = true
      // Where even that fails the next sync begins with it.
      await this.#distrust().catch(() => {})
      throw dataLost(error, this.#layout.directory, this.#volume)
    }
    // What an earlier process left may be lost too, and another program may have been told of it.
    if (fresh) await this.#dropCached()
    return tickNs
  }

  /** Nothing is staged any more. */
  async close(): Promise<void> {
    const tick = this.#tick
    this.#tick = null
    await tick?.[Symbol.asyncDispose]()
  }

  /** An apply that was under way is given up: the copy stays `applying` until it has been filled again. Of its tree only what is on the disk counts. */
  async #distrust(): Promise<void> {
    await this.#dropCached()
    if (await hasCommit(this.#layout)) {
      await dropKept(this.#layout.directory, 'live')
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
