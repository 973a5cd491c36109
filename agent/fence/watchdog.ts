import type { Logger } from 'pino'
import type { Engine } from '../docker/contract.ts'
import type { Guard, Pauses } from './contract.ts'
import { pauseGuarded } from './guarded-pause.ts'

/** One short timer instead of a long one: after a suspend of the machine a long one would come as late as the suspend took. */
const LOOK_EVERY_MS = 100
/** While containers are still being paused, or newly started ones appear. */
const RETRY_EVERY_MS = 250
/** A start that was under way when the lease ended has ended by then: from there on only a person can make a container run. */
const CALM_AFTER_MS = 30_000
const CALM_EVERY_MS = 1_000
/** The same failure four times a second tells nobody anything. */
const COMPLAIN_EVERY_MS = 5_000

/** Time, as the watchdog needs it: CLOCK_BOOTTIME. */
export interface WatchClock {
  elapsedMs(): number
  /** Resolves after `ms`, or at once when `signal` aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export interface RunningWatchdog extends AsyncDisposable {
  /** Replaces what was told before; a fence for that is over, but what it has paused stays so. */
  told(guard: Guard): void
}

/**
 * Promise 6: when the time of the last word has come without a newer one, pauses every container that runs with one of its volumes, again and again until there is a
 * newer word. Resumes nothing: whether the hold is still the same one, only the agent can find out. Failures are logged and tried again.
 */
export function createWatchdog(options: {
  pauses: Pauses
  engine: Pick<Engine, 'users'>
  clock: WatchClock
  log: Logger
}): RunningWatchdog {
  const { pauses, engine, clock, log } = options
  const stop = new AbortController()
  let word: Guard | null = null

  const watch = async () => {
    while (!stop.signal.aborted) {
      const guard = word
      if (guard !== null && guard.volumes.length > 0 && clock.elapsedMs() >= guard.untilMs) await fence(guard)
      else await clock.sleep(LOOK_EVERY_MS, stop.signal)
    }
  }

  const fence = async (guard: Guard) => {
    const startMs = clock.elapsedMs()
    const volumes = guard.volumes.map(({ name }) => name)
    log.error(
      { volumes, lateMs: startMs - guard.untilMs },
      'the lease has run out: pausing containers with these volumes',
    )
    let busyUntilMs = startMs + CALM_AFTER_MS
    let complainAtMs = startMs
    while (word === guard && !stop.signal.aborted) {
      try {
        const paused = await pauseAll(guard)
        if (paused > 0) busyUntilMs = clock.elapsedMs() + CALM_AFTER_MS
      } catch (error) {
        if (clock.elapsedMs() >= complainAtMs) {
          complainAtMs = clock.elapsedMs() + COMPLAIN_EVERY_MS
          log.error({ err: error, volumes }, 'not all containers could be paused; trying again')
        }
        busyUntilMs = clock.elapsedMs() + CALM_AFTER_MS
      }
      const calm = clock.elapsedMs() >= busyUntilMs
      await clock.sleep(calm ? CALM_EVERY_MS : RETRY_EVERY_MS, stop.signal)
    }
  }

  const pauseAll = async (guard: Guard): Promise<number> => {
    const paused = await pauseGuarded({ pauses, engine }, guard)
    if (paused.length > 0) log.warn({ containers: paused.map(({ container }) => container) }, 'paused')
    return paused.length
  }

  const watching = watch()
  return {
    told: (guard) => {
      word = guard
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await watching
    },
  }
}
