import { settleProcessors } from '../../sys/membarrier.ts'
import { ChangeLog } from './change-log.ts'
import type { Cursor, FileChanges, Touched, Tracker, TrackerStats } from './contract.ts'
import type { KernelPart } from './kernel-part.ts'
import { TouchedSince } from './touched-since.ts'

/** Joins the kernel's part and the log of what it found. */
export class InodeTracker implements Tracker {
  readonly #kernel: KernelPart
  readonly #log: ChangeLog
  readonly #tellsTouched: boolean
  #lostBefore: bigint
  #refusedInodes = 0
  #drainedBlocks = 0
  #losses = 0
  #lossReason = ''
  /** As they were at the first query after the last cut: a scan queries each tree it knows. */
  #places: Uint32Array | null = null
  #failure: string | null = null

  /** Owns the kernel's part from now on. `tellsTouched`: see seesAttributes in self-test.ts. */
  constructor(kernel: KernelPart, { tellsTouched, log = new ChangeLog() }: { tellsTouched: boolean; log?: ChangeLog }) {
    this.#kernel = kernel
    this.#tellsTouched = tellsTouched
    this.#log = log
    this.#lostBefore = kernel.lost().events
  }

  watch(owner: string, inodes: Iterable<bigint>): void {
    this.#ask(() => {
      const { fresh, given } = this.#log.watch(owner, new Set(inodes))
      this.#kernel.remove(given)
      const room = this.#kernel.add(fresh)
      this.#refusedInodes += fresh.length - room
      this.#log.added(owner, fresh.slice(0, room))
    })
  }

  unwatch(owner: string): void {
    this.#ask(() => this.#kernel.remove(this.#log.forget(owner)))
  }

  cut(): Cursor {
    const cursor = this.#log.nextCut()
    this.#places = null
    this.#ask(() => {
      this.#kernel.begin(cursor)
      this.#drainedBlocks += this.#kernel.drain((inode, block) => this.#log.note(inode, block))
      // Queried last: an event that was lost before the drain ended may be missing in it.
      const { events, why } = this.#kernel.lost()
      if (events === this.#lostBefore) return
      this.#losses += 1
      this.#lossReason = `the kernel could not report ${events - this.#lostBefore} changes (${why})`
      this.#lostBefore = events
      this.#log.lose()
    })
    return cursor
  }

  settle(): Promise<void> {
    return settleProcessors()
  }

  changes(inode: bigint, since: Cursor): FileChanges {
    return this.#failure === null ? this.#log.changes(inode, since) : null
  }

  lossSince(since: Cursor): string | null {
    return this.#log.isWhole(since) ? null : this.#lossReason
  }

  touched(since: Cursor): Touched | null {
    let touched: Touched | null = null
    if (!this.#tellsTouched) return null
    this.#ask(() => {
      this.#places ??= this.#kernel.places()
      // Events lost since the last cut are counted by the next one.
      if (this.#log.isWhole(since) && this.#kernel.lost().events === this.#lostBefore)
        touched = new TouchedSince(this.#places, since)
    })
    return touched
  }

  release(owner: string, upTo: Cursor): void {
    if (this.#failure === null) this.#log.release(owner, upTo)
  }

  get stats(): TrackerStats {
    return {
      watchedInodes: this.#log.watchedInodes,
      refusedInodes: this.#refusedInodes,
      drainedBlocks: this.#drainedBlocks,
      keptBlocks: this.#log.keptBlocks,
      losses: this.#losses,
    }
  }

  get failure(): string | null {
    return this.#failure
  }

  disable(reason: string): void {
    if (this.#failure !== null) return
    this.#failure = reason
    this.#kernel[Symbol.dispose]()
  }

  /** A call to the kernel that fails halfway leaves its effect unknown: it ends the tracker, not the caller. */
  #ask(call: () => void): void {
    if (this.#failure !== null) return
    try {
      call()
    } catch (error) {
      this.disable(`The kernel's part failed: ${(error as Error).message}`)
    }
  }

  [Symbol.dispose](): void {
    this.disable('The tracker was closed.')
  }
}
