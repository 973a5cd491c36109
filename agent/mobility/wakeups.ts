import type { Wakeups } from './context.ts'
/**
 * Lets loops sleep until something may have changed. Wakes are hints: they may be missing or doubled, so every wait has
 * a time limit and every woken loop looks at stored state.
 */
export class KeyedWakeups implements Wakeups {
  readonly #waiting = new Set<{ key: string; resolve: () => void }>()

  /** Wakes those who wait for `key`; null wakes all. */
  wake(key: string | null): void {
    for (const waiter of this.#waiting) if (key === null || waiter.key === key) waiter.resolve()
  }

  /** Resolves at a wake of `key`, when `timer` resolves, or when `signal` aborts; never rejects. */
  async wait(key: string, sleep: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const done = new AbortController()
    const woken = new Promise<void>((resolve) => {
      const waiter = { key, resolve }
      this.#waiting.add(waiter)
      done.signal.addEventListener('abort', () => this.#waiting.delete(waiter), { once: true })
    })
    await Promise.race([woken, sleep(AbortSignal.any([signal, done.signal]))])
    done.abort()
  }
}

/** Wakes the housekeeping loop; the key no volume name can have. */
export const RECONCILE = '/housekeeping'

/** Wakes the loop; the key no volume name can have. */
export const NAMESAKES = '/namesakes'
