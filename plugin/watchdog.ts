import type { Logger } from 'pino'
import type { Engine } from '../agent/docker/contract.ts'
import type { FreezeEnd, Guard, Pauses } from '../agent/fence/contract.ts'
import { Freezer, type FreezerFiles } from '../agent/fence/freezer.ts'
import { openFrozenNotes } from '../agent/fence/frozen-notes.ts'
import { openGuardFile } from '../agent/fence/guard-file.ts'
import { openPauses } from '../agent/fence/pauses.ts'
import { thawLeftOver } from '../agent/fence/thaw-left-over.ts'
import { createWatchdog, type WatchClock } from '../agent/fence/watchdog.ts'
import { parseWatchdogMessage, type Reply } from '../agent/fence/watchdog-messages.ts'
import { AgentLiveness } from './agent-liveness.ts'
import type { AgentWatch } from './supervisor.ts'

type Say = (reply: Reply) => void

interface Options {
  readonly stateDir: string
  readonly engine: Engine
  readonly freezerFiles: FreezerFiles
  readonly clock: WatchClock
  readonly leaseMs: number
  readonly log: Logger
}

/**
 * The plugin's work for volumes beside or instead of the agent.
 * It freezes containers for checkpoints and thaws them in time, fences when the lease expires, and kills a stuck
 * agent.
 * It starts from the last message of a plugin before this one, and from what was left frozen.
 */
export async function openFence(options: Options): Promise<AgentWatch & AsyncDisposable> {
  const { stateDir, engine, freezerFiles: files, clock, leaseMs, log } = options
  await using stack = new AsyncDisposableStack()
  const stop = new AbortController()
  stack.defer(() => stop.abort())
  const pauses = await openPauses({ stateDir, engine, log })
  const file = stack.use(await openGuardFile({ stateDir, log }))
  const notes = await openFrozenNotes(stateDir)
  const freezer = stack.use(new Freezer({ files, notes, clock, log }))
  const thawed = thawLeftOver({ files, notes, freezer, engine, clock, log, signal: stop.signal })
  // A frozen container looks paused to runc, which would refuse a fence.
  // What an earlier process left frozen is thawed by then, too: later that would undo the fence.
  const fencing: Pauses = {
    all: () => pauses.all(),
    pause: async (due) => {
      await thawed
      freezer.end('fence')
      return await pauses.pause(due)
    },
    resume: (which) => pauses.resume(which),
    kill: (which) => pauses.kill(which),
  }
  const watchdog = stack.use(createWatchdog({ pauses: fencing, engine, clock, log }))
  const silence = stack.use(new AgentLiveness({ leaseMs, log }))

  let guarded: Guard['volumes'] = []
  // No lease is longer than the setting: an end further away cannot be true.
  const tell = (guard: Guard) => {
    guarded = guard.volumes
    watchdog.told({ ...guard, untilMs: Math.min(guard.untilMs, clock.elapsedMs() + leaseMs) })
  }

  engine.watch(({ kind, action, id }) => {
    if (kind === 'container' && action.startsWith('exec_create')) freezer.announced(id)
    if (kind === 'container' && action.startsWith('exec_start')) freezer.started(id)
  }, stop.signal)
  let say: Say = () => {}

  const last = await file.last()
  if (last !== null) tell(last)
  const resources = stack.move()
  return {
    started(kill, toAgent) {
      silence.begin(kill)
      say = toAgent
      say({ word: 'guarded', volumes: [...guarded] })
    },
    heard(message) {
      const word = parseWatchdogMessage(message)
      if (word === null) return
      silence.heard()
      if (word.word === 'freeze') {
        const answer = say
        const { id } = word.request
        const freezing = (containers: readonly string[]) =>
          answer({ word: 'freezing', id, containers: [...containers] })
        const frozen = () => answer({ word: 'frozen', id })
        const ended = (end: FreezeEnd) => answer({ word: 'thawed', end })
        void thawed.then(() => freezer.freeze(word.request, freezing, frozen, ended))
      } else if (word.word === 'thaw') {
        void thawed.then(() => freezer.thaw(word.id))
      } else if (word.word === 'guard') {
        tell(word.guard)
        file.keep(word.guard)
      }
    },
    ended() {
      silence.end()
      void thawed.then(() => freezer.end('agent'))
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
