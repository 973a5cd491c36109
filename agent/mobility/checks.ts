import type { Capture } from '../store/contract.ts'
import type { Parts } from './parts.ts'

/** Looks at trees nobody writes to, one look per volume however many Mounts wait for it. */
export class Checks {
  readonly #parts: Pick<Parts, 'store' | 'signal'>
  readonly #running = new Map<string, Promise<Capture>>()

  constructor(parts: Pick<Parts, 'store' | 'signal'>) {
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
}
