import { codeOf } from '../../model/errors.ts'
import type { Capture } from '../../store/contract.ts'
import type { TreeChecks } from '../copy-contract.ts'
import type { Dependencies } from '../dependencies.ts'

/** A whole copy is not read again for another host's doubt before this. */
const VERIFY_EVERY_MS = 10 * 60_000
/**
 * Hosts wait no longer than this for a comparison, and ask again.
 * One that took as long counts for as long.
 */
const LONG_MS = 10_000

/** Reads trees that nobody writes to: one scan per volume, which all callers join. */
export class SharedTreeChecks implements TreeChecks {
  readonly #dependencies: Pick<Dependencies, 'store' | 'signal' | 'clock'>
  /** By volume id: when its copy was last read again for a doubt, on the clock's elapsedMs. */
  readonly #verifiedMs = new Map<string, number>()
  /** How often each copy is being read again, by volume id. */
  readonly #verifying = new Map<string, number>()
  readonly #running = new Map<string, Promise<Capture>>()
  /** Long captures that have ended, by volume id, and when. */
  readonly #long = new Map<string, { readonly capture: Capture; readonly atMs: number }>()

  constructor(dependencies: Pick<Dependencies, 'store' | 'signal' | 'clock'>) {
    this.#dependencies = dependencies
  }

  /**
   * Captures the tree, or joins the capture that runs. It continues when the caller stops waiting.
   * Rejects as `Store.capture`.
   */
  join(id: string): Promise<Capture> {
    const running = this.#running.get(id)
    if (running !== undefined) return running
    const { store, clock, signal } = this.#dependencies
    const startMs = clock.elapsedMs()
    this.#long.delete(id)
    const check = store.capture(id, 'quiet', signal)
    this.#running.set(id, check)
    const note = (capture: Capture) => {
      const atMs = clock.elapsedMs()
      if (atMs - startMs >= LONG_MS) this.#long.set(id, { capture, atMs })
    }
    check.then(note, () => undefined)
    const end = () => this.#running.delete(id)
    check.then(end, end)
    return check
  }

  /** As `join`, or the result of a long capture that has just ended, if it found the tree with this hash. */
  async joinLately(id: string, hash: string | null): Promise<Capture> {
    const found = this.#long.get(id)
    const isRecent = found !== undefined && this.#dependencies.clock.elapsedMs() - found.atMs < LONG_MS
    return isRecent && found.capture.hash === hash ? found.capture : await this.join(id)
  }

  /** Runs `work`, which reads a copy again byte by byte; meanwhile `isVerified` is true. */
  async verify<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#verifying.set(id, (this.#verifying.get(id) ?? 0) + 1)
    try {
      return await work()
    } catch (error) {
      // It gave way to a Mount, for example: the next doubt has the copy read again.
      if (codeOf(error) === 'VOLUME_IN_USE') this.#verifiedMs.delete(id)
      throw error
    } finally {
      const left = (this.#verifying.get(id) ?? 1) - 1
      if (left > 0) this.#verifying.set(id, left)
      else this.#verifying.delete(id)
    }
  }

  /** Whether a copy is being read again. A capture of its tree would end that. */
  isVerified(id: string): boolean {
    return this.#verifying.has(id)
  }

  /** Whether another host's doubt justifies reading the whole copy now. True counts as a read. */
  mayVerify(id: string): boolean {
    const nowMs = this.#dependencies.clock.elapsedMs()
    for (const [known, atMs] of this.#verifiedMs) if (nowMs - atMs >= VERIFY_EVERY_MS) this.#verifiedMs.delete(known)
    if (this.#verifiedMs.has(id)) return false
    this.#verifiedMs.set(id, nowMs)
    return true
  }
}
