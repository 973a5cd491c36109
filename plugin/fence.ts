import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Engine } from '../agent/docker/contract.ts'
import type { Guard } from '../agent/fence/contract.ts'
import { openGuardFile } from '../agent/fence/guard-file.ts'
import { type OwnedPauses, openPauses } from '../agent/fence/pauses.ts'
import { createWatchdog, type WatchClock } from '../agent/fence/watchdog.ts'
import { parseWord } from '../agent/fence/words.ts'
import { SilenceWatch } from './silence.ts'
import type { AgentWatch } from './supervisor.ts'

/** Containers stand still meanwhile. */
const RESUME_EVERY_MS = 250

interface Options {
  readonly stateDir: string
  readonly engine: Engine
  readonly clock: WatchClock
  readonly leaseMs: number
  readonly log: Logger
}

/**
 * What the plugin does for volumes when the agent does not: fences when the lease runs out, resumes what a dead agent has paused for a checkpoint, kills an agent
 * that is stuck. Begins with the last word that a plugin before this one has heard, and with what agents before have left paused.
 */
export async function openFence(options: Options): Promise<AgentWatch & AsyncDisposable> {
  const { stateDir, engine, clock, leaseMs, log } = options
  await using stack = new AsyncDisposableStack()
  const stop = new AbortController()
  stack.defer(() => stop.abort())
  const pauses = await openPauses({ stateDir, engine, log })
  const file = stack.use(await openGuardFile({ stateDir, log }))
  const watchdog = stack.use(createWatchdog({ pauses, engine, clock, log }))
  const silence = stack.use(new SilenceWatch({ leaseMs, log }))

  // No lease is longer than the setting: an end further off is no end that can be true.
  const tell = (guard: Guard) =>
    watchdog.told({ ...guard, untilMs: Math.min(guard.untilMs, clock.elapsedMs() + leaseMs) })
  const resume = () => void resumeCheckpoints(pauses, log, stop.signal)

  const last = await file.last()
  if (last !== null) tell(last)
  resume()
  const resources = stack.move()
  return {
    started: (kill) => silence.begin(kill),
    heard(message) {
      const word = parseWord(message)
      if (word === null) return
      silence.heard()
      if (word.word === 'alive') return
      tell(word.guard)
      file.keep(word.guard)
    },
    ended() {
      silence.end()
      resume()
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}

/** Resumes what agents that have ended left paused for a checkpoint. Those of the next agent are its own: told by who noted them. */
async function resumeCheckpoints(pauses: OwnedPauses, log: Logger, signal: AbortSignal): Promise<void> {
  let owners: ReadonlySet<string> | null = null
  for (let complained = false; !signal.aborted; ) {
    try {
      const noted = (await pauses.all()).filter(({ reason }) => reason === 'checkpoint')
      const ended: ReadonlySet<string> = owners ?? new Set(noted.map(({ owner }) => owner))
      owners = ended
      const left = noted.filter(({ owner }) => ended.has(owner))
      if (left.length === 0) return
      log.warn({ containers: left.map(({ container }) => container) }, 'resuming what was paused for a checkpoint')
      return await pauses.resume(({ reason, owner }) => reason === 'checkpoint' && ended.has(owner))
    } catch (error) {
      if (!complained) log.error({ err: error }, 'what was paused for a checkpoint is not resumed yet; trying again')
      complained = true
    }
    await sleep(RESUME_EVERY_MS, undefined, { signal }).catch(() => undefined)
  }
}
