import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from '../../lab/host.ts'
import { PLUGIN_PROCESSES } from '../../lab/plugin-processes.ts'
import { until } from '../../lab/poll.ts'
import type { Random } from '../sim/random.ts'
import { agentOf } from './fixture.ts'

/** The processes a host cannot do without, and how to recognise them. */
export const VICTIMS = {
  plugin: PLUGIN_PROCESSES.plugin,
  agent: PLUGIN_PROCESSES.agent,
  'nats-server': PLUGIN_PROCESSES['nats-server'],
} as const
export type Victim = keyof typeof VICTIMS
const KINDS = Object.keys(VICTIMS) as Victim[]

/** A move takes a second or two when nothing is killed: most kills shall fall into it, some just after it. */
const LONGEST_BREATH_MS = 2_500
/** A host is well long before, unless it never will be. */
const RECOVERY_TIMEOUT_MS = 90_000

export interface Kill {
  readonly victim: Victim
  readonly host: string
  readonly at: Date
  /** From the kill until the host's agent had registry and engine again. */
  readonly awayMs: number
}

/**
 * Kills one process after another with SIGKILL, each time when the one before has come back: which, where and when is
 * drawn by `chance`.
 */
export class Killer {
  readonly kills: Kill[] = []
  readonly #hosts: readonly Host[]
  readonly #chance: Random
  /** Every kind has its turn before one has another. */
  #turns: Victim[] = []

  constructor(hosts: readonly Host[], chance: Random) {
    this.#hosts = hosts
    this.#chance = chance
  }

  /** Goes on until `signal` aborts; on return all hosts are well again. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#chance.between(0, LONGEST_BREATH_MS), undefined, { signal }).catch(() => undefined)
      if (!signal.aborted) await this.#killOne()
    }
  }

  async #killOne(): Promise<void> {
    if (this.#turns.length === 0) this.#turns = this.#chance.shuffle(KINDS)
    const victim = this.#turns.pop() ?? 'agent'
    const host = this.#chance.pick(this.#hosts)
    const before = host.processes(VICTIMS[victim])
    const at = new Date()
    const startMs = performance.now()
    for (const { pid } of before) host.kill(pid)
    await until(
      `${host.name} is well after kill -9 of its ${victim}`,
      async () => {
        const now = host.processes(VICTIMS[victim])
        if (now.length !== 1 || before.some(({ pid }) => pid === now[0]?.pid)) return false
        await using agent = agentOf(host)
        return (await agent.health()).ready
      },
      { timeoutMs: RECOVERY_TIMEOUT_MS },
    )
    this.kills.push({ victim, host: host.name, at, awayMs: Math.round(performance.now() - startMs) })
  }
}
