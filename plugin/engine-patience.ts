import type { Logger } from 'pino'
import { WherryError } from '../agent/model/errors.ts'

/**
 * What dockerd gives up before this it repeats, as it does when the plugin was restarted (moby, pkg/plugins/client.go,
 * abort). So an earlier end says nothing about its time limit.
 */
const SHORTEST_MS = 29_000
/** Time for a reply to reach the engine before it gives up. */
const MARGIN_MS = 5_000
/** A mount that failed this close to the deadline failed because of it. */
const NEAR_MS = 1_000

/**
 * How long the engine waits for a Mount, as far as this process has seen.
 * `docker plugin enable --timeout N` limits every call to N seconds, 30 by default. No reply of the engine says so, and
 * every `enable` starts a new process.
 */
export class EnginePatience {
  readonly #log: Logger
  #limitMs = Number.POSITIVE_INFINITY

  constructor(log: Logger) {
    this.#log = log
  }

  /** The engine hung up on a call that had run for so long. */
  gaveUp(afterMs: number): void {
    if (afterMs < SHORTEST_MS || afterMs >= this.#limitMs) return
    // Whole: it becomes the delay of timers.
    this.#limitMs = Math.floor(afterMs)
    this.#log.warn(
      { afterMs: this.#limitMs, mountDeadlineMs: this.#limitMs - MARGIN_MS },
      'engine gave up on a call: mounts end earlier from now on, enable the plugin with --timeout 0',
    )
  }

  /** Returns the deadline of a mount that may take `wantedMs`. */
  deadlineMs(wantedMs: number): number {
    return Math.min(wantedMs, this.#limitMs - MARGIN_MS)
  }

  /** Adds to the error of a mount that took `tookMs` why it could not take longer. */
  explain(error: unknown, wantedMs: number, tookMs: number): unknown {
    const deadlineMs = this.deadlineMs(wantedMs)
    if (!(error instanceof WherryError) || deadlineMs >= wantedMs || tookMs < deadlineMs - NEAR_MS) return error
    const limit = `Docker waits for ${Math.round(this.#limitMs / 1_000)} s only: enable the plugin with --timeout 0.`
    return new WherryError(error.code, error.message, { hint: [error.hint, limit].join(' ').trim(), cause: error })
  }
}
