import type { Logger } from 'pino'
import type { Engine } from '../docker/contract.ts'
import type { Guard, Pauses } from './contract.ts'
import { pauseGuarded } from './guarded-pause.ts'

/** How often the time is checked. One long timer would come late by as much as the machine was suspended. */
const CHECK_EVERY_MS = 100
/** Wait while there is no volume to fence: only a new message changes that. */
const IDLE_MS = 60_000
/** How often a fence scans while containers are still being paused, or new ones start. */
const RETRY_EVERY_MS = 250
/** A container start that ran when the lease expired is over by then. Later ones are an operator's. */
const CALM_AFTER_MS = 30_000
const CALM_EVERY_MS = 1_000
/** How often the same failure is logged. */
const LOG_EVERY_MS = 5_000

/** The watchdog's clock: CLOCK_BOOTTIME. */
export interface WatchClock {
  elapsedMs(): number
  /** Resolves after `ms`, or at once when `signal` aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export interface RunningWatchdog extends AsyncDisposable {
  /** Replaces the guard. Ends a fence for the one before; what it has paused stays paused. */
  guard(guard: Guard): void
}

/**
 * Fences: when the lease of the last guard expires, pauses every container that runs with one of its volumes.
 * Scans again and again until there is a newer guard (promise 6).
 * Resumes nothing: only the agent can find out whether the hold is still the same.
 * Failures are logged and retried.
 */
export function createWatchdog(options: {
  pauses: Pauses
  engine: Pick<Engine, 'users'>
  clock: WatchClock
  log: Logger
}): RunningWatchdog {
  const { pauses, engine, clock, log } = options
  const stop = new AbortController()
  let newest: Guard | null = null
  let changed = new AbortController()

  const watch = async () => {
    while (!stop.signal.aborted) {
      const guard = newest
      if (guard === null || guard.volumes.length === 0) {
        await clock.sleep(IDLE_MS, AbortSignal.any([stop.signal, changed.signal]))
      } else if (clock.elapsedMs() >= guard.untilMs) await fence(guard)
      else await clock.sleep(CHECK_EVERY_MS, stop.signal)
    }
  }

  const fence = async (guard: Guard) => {
    const startMs = clock.elapsedMs()
    const volumes = guard.volumes.map(({ name }) => name)
    log.error({ volumes, lateMs: startMs - guard.untilMs }, 'lease expired: pausing the containers of these volumes')
    let busyUntilMs = startMs + CALM_AFTER_MS
    let logAtMs = startMs
    while (newest === guard && !stop.signal.aborted) {
      try {
        const paused = await pauseAll(guard)
        if (paused > 0) busyUntilMs = clock.elapsedMs() + CALM_AFTER_MS
      } catch (error) {
        if (clock.elapsedMs() >= logAtMs) {
          logAtMs = clock.elapsedMs() + LOG_EVERY_MS
          log.error({ err: error, volumes }, 'not all containers could be paused: retrying')
        }
        busyUntilMs = clock.elapsedMs() + CALM_AFTER_MS
      }
      const calm = clock.elapsedMs() >= busyUntilMs
      await clock.sleep(calm ? CALM_EVERY_MS : RETRY_EVERY_MS, stop.signal)
    }
  }

  const pauseAll = async (guard: Guard): Promise<number> => {
    const paused = await pauseGuarded({ pauses, engine }, guard)
    if (paused.length > 0) log.warn({ containers: paused.map(({ container }) => container) }, 'containers paused')
    return paused.length
  }

  const watching = watch()
  return {
    guard: (guard) => {
      newest = guard
      if (guard.volumes.length === 0) return
      changed.abort()
      changed = new AbortController()
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await watching
    },
  }
}
