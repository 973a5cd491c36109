import type { Capture } from '../store/contract.ts'
import type { Parts } from './parts.ts'

/** Reading a whole copy again for another host's doubt is not repeated before this. */
const VERIFY_EVERY_MS = 10 * 60_000

/** Looks at trees nobody writes to, one look per volume however many Mounts wait for it. */
export class Checks {
  readonly #parts: Pick<Parts, 'store' | 'signal' | 'clock'>
  /** By volume id: when its copy was last read again for a doubt, on the clock's elapsedMs. */
  readonly #verifiedMs = new Map<string, number>()
  readonly #running = new Map<string, Promise<Capture>>()

  constructor(parts: Pick<Parts, 'store' | 'signal' | 'clock'>) {
    this.#parts = parts
  }

  /** Captures the tree, or joins the capture that runs; it goes on when the caller stops waiting. Rejects as `Store.capture`. */
  join(id: string): Promise<Capture> {
    const running = this.#running.get(id)
    if (running !== undefined) return running
    const check = this.#parts.store.capture(id, 'quiet', this.#parts.signal)
    this.#running.set(id, check)
    const end = () => this.#running.delete(id)
    check.then(end, end)
    return check
  }

  /** Whether another host's doubt is worth reading the whole copy now; counts as if it were then read. */
  mayVerify(id: string): boolean {
    const nowMs = this.#parts.clock.elapsedMs()
    for (const [known, atMs] of this.#verifiedMs) if (nowMs - atMs >= VERIFY_EVERY_MS) this.#verifiedMs.delete(known)
    if (this.#verifiedMs.has(id)) return false
    this.#verifiedMs.set(id, nowMs)
    return true
  }
}
