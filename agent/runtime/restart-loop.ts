import { setTimeout as sleep } from 'node:timers/promises'

/** Waits between the end of one run and the next start. They double with each run that ends early. */
export interface RestartWaits {
  readonly firstMs: number
  readonly lastMs: number
  /** A run that lasted this long had started well: its end begins a new series of waits. */
  readonly steadyMs: number
}

/**
 * Runs a process again whenever it ends, until `signal` aborts or `run` returns false.
 * `ended` is called before each wait, with its length. Rejects only with what `run` rejects with.
 */
export async function restartLoop(options: {
  readonly run: () => Promise<boolean>
  readonly ended: (waitMs: number) => void
  readonly waits: RestartWaits
  readonly signal: AbortSignal
}): Promise<void> {
  const { run, ended, waits, signal } = options
  let waitMs = waits.firstMs
  while (!signal.aborted) {
    const startMs = performance.now()
    if (!(await run()) || signal.aborted) return
    if (performance.now() - startMs >= waits.steadyMs) waitMs = waits.firstMs
    ended(waitMs)
    await sleep(waitMs, undefined, { signal }).catch(() => undefined)
    waitMs = Math.min(2 * waitMs, waits.lastMs)
  }
}
