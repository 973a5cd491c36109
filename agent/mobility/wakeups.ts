import type { Wakeups } from './context.ts'
/**
 * Lets loops sleep until something may have changed. Wakeups are hints: they may be lost or doubled.
 * So every wait has a time limit, and every woken loop reads stored state.
 */
export class KeyedWakeups implements Wakeups {
  readonly #waiting = new Set<{ key: string; resolve: () => void }>()

  /** Wakes those who wait for `key`; null wakes all. */
  wake(key: string | null): void {
    for (const waiter of this.#waiting) if (key === null || waiter.key === key) waiter.resolve()
  }

  /** Resolves at a wake of `key`, when `sleep` resolves, or when `signal` aborts. Never rejects. */
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

/** Wakes the reconcile loop; no volume name can be this key. */
export const RECONCILE = '/reconcile'

/** Wakes the scan for namesakes; no volume name can be this key. */
export const NAMESAKES = '/namesakes'
