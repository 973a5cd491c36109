import type { LocalCopy } from '../store/contract.ts'
import type { Parts } from './parts.ts'

/** Far below the heartbeat: a beat that is late by this much is none that is missed. */
const PATIENCE_MS = 200

/**
 * The copies this host holds, by its disk, for the heartbeat: a disk that is slow, or hangs, must not cost the lease, so
 * what was read last stands in for what takes too long to read.
 */
export class HeldCopies {
  readonly #parts: Pick<Parts, 'store' | 'clock' | 'signal'>
  #known: readonly LocalCopy[] | null = null
  #reading: Promise<readonly LocalCopy[]> | null = null

  constructor(parts: Pick<Parts, 'store' | 'clock' | 'signal'>) {
    this.#parts = parts
  }

  /** Waits for the disk the first time, then never for long. Rejects as `Store.copies`. */
  async list(): Promise<readonly LocalCopy[]> {
    return (await this.all()).filter((copy) => copy.held !== null)
  }

  /** The same, with those that are not held. */
  async all(): Promise<readonly LocalCopy[]> {
    const reading = this.#read()
    if (this.#known === null) return await reading
    const known = this.#known
    // What fails after the patience is over is met again at the next beat.
    reading.catch(() => undefined)
    const { clock, signal } = this.#parts
    const inTime = new AbortController()
    const late = clock.sleep(PATIENCE_MS, AbortSignal.any([inTime.signal, signal])).then(() => known)
    try {
      return await Promise.race([reading, late])
    } finally {
      inTime.abort()
    }
  }

  /** Reads the disk, or joins the look that is under way. */
  #read(): Promise<readonly LocalCopy[]> {
    this.#reading ??= this.#look().finally(() => {
      this.#reading = null
    })
    return this.#reading
  }

  async #look(): Promise<readonly LocalCopy[]> {
    const { copies } = await this.#parts.store.copies()
    this.#known = copies
    return copies
  }
}
