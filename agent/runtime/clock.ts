import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../mobility/dependencies.ts'
import { bootTimeMs } from '../sys/boot-time.ts'

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => new Date(),
  elapsedMs: bootTimeMs,
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, { signal }).catch(() => undefined)
  },
  deadline: (ms) => AbortSignal.timeout(Math.max(0, Math.ceil(ms))),
}
