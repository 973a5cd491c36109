import type { Logger } from 'pino'
import type { Engine } from '../agent/docker/contract.ts'
import type { FreezeEnd, Guard, Pauses } from '../agent/fence/contract.ts'
import { Freezer, type FreezerFiles } from '../agent/fence/freezer.ts'
import { openFrozenNotes } from '../agent/fence/frozen-notes.ts'
import { openGuardFile } from '../agent/fence/guard-file.ts'
import { openPauses } from '../agent/fence/pauses.ts'
import { thawLeftOver } from '../agent/fence/thaw-left-over.ts'
import { createWatchdog, type WatchClock } from '../agent/fence/watchdog.ts'
import { type PluginMessage, parseAgentMessage } from '../agent/fence/watchdog-messages.ts'
import { AgentLiveness } from './agent-liveness.ts'
import type { AgentWatch } from './supervisor.ts'

type Send = (message: PluginMessage) => void

interface Options {
  readonly stateDir: string
  readonly engine: Pick<Engine, 'users' | 'finishedAt' | 'pause' | 'unpause' | 'kill' | 'watch'>
  readonly freezerFiles: FreezerFiles
  readonly clock: WatchClock
  readonly leaseMs: number
  readonly log: Logger
}

/**
 * Runs what the plugin does for volumes beside the agent or instead of it.
 * It freezes containers for checkpoints and thaws them in time, fences when the lease expires, and kills a stuck agent.
 * Starts with the last guard that an earlier plugin process received, and thaws what that one left frozen.
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
  // A frozen container looks paused to runc, which would refuse the fence. Containers that an earlier process left
  // frozen are thawed first: later that would undo the fence.
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
  const liveness = stack.use(new AgentLiveness({ leaseMs, log }))

  let newest: Guard | null = null
  // No lease is longer than the setting: a later end cannot be true.
  const update = (guard: Guard) => {
    newest = { ...guard, untilMs: Math.min(guard.untilMs, clock.elapsedMs() + leaseMs) }
    watchdog.guard(newest)
  }

  engine.watch(({ kind, action, id }) => {
    if (kind === 'container' && action.startsWith('exec_create')) freezer.commandAnnounced(id)
    if (kind === 'container' && action.startsWith('exec_start')) freezer.commandStarted(id)
  }, stop.signal)
  let send: Send = () => {}

  const last = await file.last()
  if (last !== null) update(last)
  const resources = stack.move()
  return {
    started(kill, toAgent) {
      liveness.begin(kill)
      send = toAgent
      send({ kind: 'guarded', guard: newest })
    },
    heard(message) {
      const parsed = parseAgentMessage(message)
      if (parsed === null) return
      liveness.heard()
      if (parsed.kind === 'freeze') {
        const reply = send
        const { id } = parsed.request
        const freezing = (containers: readonly string[]) => reply({ kind: 'freezing', id, containers: [...containers] })
        const frozen = () => reply({ kind: 'frozen', id })
        const ended = (end: FreezeEnd) => reply({ kind: 'thawed', end })
        void thawed.then(() => freezer.freeze(parsed.request, freezing, frozen, ended))
      } else if (parsed.kind === 'thaw') {
        void thawed.then(() => freezer.thaw(parsed.id))
      } else if (parsed.kind === 'guard') {
        update(parsed.guard)
        file.keep(parsed.guard)
      }
    },
    ended() {
      liveness.end()
      void thawed.then(() => freezer.end('agent'))
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  }
}
