import type { LiveCaptures } from '../copy-contract.ts'

interface Capturing {
  readonly ending: AbortController
  readonly done: Promise<unknown>
}

/**
 * Captures of live trees for pre-seeding.
 * Several may read one volume; all give way to its release and checkpoints.
 */
export class LiveCaptureSet implements LiveCaptures {
  /** By volume id. */
  readonly #running = new Map<string, Set<Capturing>>()

  /** Runs a capture that ends early when `end` is called for the volume. Resolves and rejects as it does. */
  async run<T>(id: string, signal: AbortSignal, capture: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const ending = new AbortController()
    const done = capture(AbortSignal.any([signal, ending.signal]))
    const running = this.#running.get(id) ?? new Set()
    this.#running.set(id, running)
    const ours = { ending, done }
    running.add(ours)
    try {
      return await done
    } finally {
      running.delete(ours)
      if (running.size === 0) this.#running.delete(id)
    }
  }

  /**
   * Ends all captures of the volume, and those that begin meanwhile.
   * Resolves when none touches the tree.
   * Never rejects. May be repeated.
   */
  async end(id: string): Promise<void> {
    for (let running = this.#running.get(id); running !== undefined; running = this.#running.get(id)) {
      for (const { ending } of running) ending.abort(new Error('the tree is needed'))
      await Promise.allSettled([...running].map(({ done }) => done))
    }
  }
}
