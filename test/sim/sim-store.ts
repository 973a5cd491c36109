import type { TreeWork } from '../fake/copies.ts'
import { FakeStore, type KeptContent } from '../fake/store.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'
import type { SimDisk } from './sim-disk.ts'
import type { Tree } from './tree.ts'

/** How often a frozen tree that has changed since cannot be captured. */
const NOT_KEPT = 0.05
/** How often the spool of a checkpoint has all that a copy lacks. */
const SPOOL_IS_WHOLE = 0.9
/** How often all content of a live capture can be had. */
const LIVE_IS_WHOLE = 0.7
/** Most reads are served from memory, at once. */
const CACHED = 0.8
/** A disk that is slower than that makes scans no slower. */
const SLOWEST_SCAN = 30

/** How long each kind of work takes on a healthy disk, on average. */
const WORK_MS: Readonly<Record<TreeWork, number>> = {
  quiet: 30,
  live: 100,
  aside: 30,
  round: 20,
  freeze: 20,
  last: 20,
  verify: 50,
  probe: 5,
  mount: 2,
}

/** The store as one agent has it: what it asks for takes time, and a write happens at some moment before its reply. */
export class SimStore extends FakeStore<Tree> {
  readonly #sim: SimDisk
  readonly #process: SimProcess
  readonly #random: Random

  constructor(disk: SimDisk, process: SimProcess, random: Random) {
    super(disk)
    this.#sim = disk
    this.#process = process
    this.#random = random
  }

  protected async read(): Promise<void> {
    if (this.#sim.slowness === 1 && this.#random.hit(CACHED)) return
    await this.#process.wait(this.#random.between(0.1, 3) * this.#sim.slowness)
  }

  protected work(what: TreeWork): Promise<void> {
    return this.#process.wait(this.#random.between(0.2, 2) * WORK_MS[what] * Math.min(this.#sim.slowness, SLOWEST_SCAN))
  }

  protected async write<R>(_what: 'record' | 'tree', effect: () => R): Promise<R> {
    const ms = this.#random.between(0.2, 8) * this.#sim.slowness
    if (this.disk.unwritable !== null) {
      await this.#process.wait(ms)
      this.requireWritable()
    }
    if (this.#random.hit(0.5)) {
      const done = effect()
      await this.#process.wait(ms)
      return done
    }
    return this.#process.call(ms, effect)
  }

  protected has(kept: KeptContent, isSame: boolean): boolean {
    if (kept === 'frozen') return isSame || !this.#random.hit(NOT_KEPT)
    return this.#random.hit(kept === 'live' ? LIVE_IS_WHOLE : SPOOL_IS_WHOLE)
  }
}
