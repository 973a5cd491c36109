import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentApi, DrainView } from '../agent/api/contract.ts'
import { codeOf } from '../agent/model/errors.ts'
import { showDrain, showHosts, showRecovery, showRemoval, showVerification, showVolume, showVolumes } from './render.ts'

/** How often `drain` looks how far it is. */
const DRAIN_LOOK_MS = 2_000

interface Call {
  readonly agent: AgentApi
  readonly operands: readonly string[]
  readonly flags: { readonly json: boolean; given(flag: string): boolean }
  readonly print: (text: string) => void
  readonly signal: AbortSignal
}

export interface Command {
  /** Names of what must follow it. */
  readonly operands: readonly string[]
  readonly flags: readonly string[]
  /** Answers the exit code; rejects with the agent's error. */
  readonly run: (call: Call) => Promise<number>
}

export const COMMANDS: Readonly<Record<string, Command>> = {
  ls: {
    operands: [],
    flags: [],
    run: async (call) => answer(call, await call.agent.list(call.signal), (list) => showVolumes(list, new Date())),
  },
  inspect: {
    operands: ['VOLUME'],
    flags: [],
    run: async (call) =>
      answer(call, await call.agent.get(first(call), call.signal), (one) => showVolume(one, new Date())),
  },
  hosts: { operands: [], flags: [], run: async (call) => answer(call, await call.agent.hosts(call.signal), showHosts) },
  promote: {
    operands: ['VOLUME'],
    flags: ['accept-loss'],
    run: async (call) => {
      const volume = await call.agent.promote(first(call), { acceptLoss: call.flags.given('accept-loss') }, call.signal)
      return answer(call, volume, (one) => `${one.summary}\n\n${showVolume(one, new Date())}`)
    },
  },
  rm: {
    operands: ['VOLUME'],
    flags: ['force', 'accept-loss'],
    run: async (call) => {
      const { agent, flags, signal } = call
      const consent = { force: flags.given('force'), acceptLoss: flags.given('accept-loss') }
      return answer(call, await agent.removeWith(first(call), consent, signal), showRemoval)
    },
  },
  verify: {
    operands: ['VOLUME'],
    flags: [],
    run: async (call) => {
      const view = await call.agent.verify(first(call), call.signal)
      answer(call, view, showVerification)
      return view.damagedCount === 0 ? 0 : 1
    },
  },
  drain: { operands: [], flags: ['off', 'no-wait'], run: drain },
  metrics: {
    operands: [],
    flags: [],
    run: async (call) => {
      call.print((await call.agent.metrics(call.signal)).trimEnd())
      return 0
    },
  },
  recover: {
    operands: [],
    flags: [],
    run: async (call) => {
      const view = await call.agent.recover(call.signal)
      answer(call, view, showRecovery)
      return view.problems.length === 0 ? 0 : 1
    },
  },
}

function answer<T>(call: Call, value: T, show: (value: T) => string): number {
  call.print(call.flags.json ? JSON.stringify(value, null, 2) : show(value))
  return 0
}

function first(call: Call): string {
  return call.operands[0] ?? ''
}

/** The drain goes on without anybody watching: an agent or a registry that is away for a moment is no end of it. */
function passing(error: unknown, view: DrainView): DrainView {
  if (codeOf(error) === 'AGENT_UNAVAILABLE' || codeOf(error) === 'REGISTRY_UNAVAILABLE') return view
  throw error
}

/** Asks for the drain and stays until no copy is left; whoever stops it here does not stop the drain. */
async function drain(call: Call): Promise<number> {
  const { agent, flags, signal } = call
  const waits = !flags.given('off') && !flags.given('no-wait')
  let view: DrainView = await agent.drain({ on: !flags.given('off') }, signal)
  let shown = ''
  while (waits && view.left.length > 0) {
    const now = showDrain(view)
    if (!flags.json && now !== shown) call.print(now)
    shown = now
    await sleep(DRAIN_LOOK_MS, undefined, { signal })
    view = await agent.drain({ on: true }, signal).catch((error: unknown) => passing(error, view))
  }
  return answer(call, view, showDrain)
}
