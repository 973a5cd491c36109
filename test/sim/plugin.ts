import type { Logger } from 'pino'
import type { FreezeEnd, FreezeRequest, Guard, Pauses } from '../../agent/fence/contract.ts'
import { Freezer } from '../../agent/fence/freezer.ts'
import { thawLeftOver } from '../../agent/fence/thaw-left-over.ts'
import { createWatchdog, type RunningWatchdog, type WatchClock } from '../../agent/fence/watchdog.ts'
import type { TimelineEvent } from '../fake/timeline.ts'
import { ProcessClock } from './clocks.ts'
import { EngineClient } from './engine-client.ts'
import { HeldPauses } from './held-pauses.ts'
import { frozenNotesOf } from './host-freezers.ts'
import type { Machine } from './machine.ts'
import { Life } from './process.ts'
import type { Settings } from './settings.ts'

/** The real watchdog looks this often at the time (agent/fence/watchdog.ts). */
const WATCH_LOOK_MS = 100
/** plugin/supervisor.ts: back-off of a fresh agent. */
const AGENT_BACK_LEAST_MS = 100
const AGENT_BACK_MOST_MS = 2_000
/** The word in `guard.json` is at most this much older than the last one that was told. */
const GUARD_FILE_EVERY_MS = 500

/** The plugin's process: the real watchdog, and whoever starts the agent again. */
export class Plugin {
  readonly life: Life
  readonly #machine: Machine
  readonly #watchdog: RunningWatchdog
  readonly #freezer: Freezer
  /** What processes before this one have left frozen runs again. */
  readonly #thawed: Promise<void>
  readonly #clock: ProcessClock
  #guard: Guard | null = null
  /** What it was told last; it may be on its way. */
  #newest: Guard | null
  #toldMs = 0
  /** What is about to be written to `guard.json`, and when it was last written. */
  #unkept: Guard | null = null
  #keptMs = Number.NEGATIVE_INFINITY
  #wake: (() => void) | null = null
  #wakeEvent: TimelineEvent | null = null

  constructor(machine: Machine, log: Logger) {
    this.#machine = machine
    const { world, host } = machine
    this.life = new Life(world.timeline, `plugin of ${host}`)
    this.#clock = new ProcessClock(machine.clocks, this.life)
    const engine = new EngineClient(machine, this.life, world.chance, world.swarm)
    const pauses = new HeldPauses(machine.notes, engine, this.life, world.chance)
    const files = machine.freezers.of(this.life)
    const notes = frozenNotesOf(machine, this.life, world.chance)
    this.#freezer = new Freezer({ files, notes, clock: freezeClock(this.#clock, world.settings), log })
    const { signal } = new AbortController()
    this.#thawed = thawLeftOver({ files, notes, freezer: this.#freezer, engine, clock: this.#clock, log, signal })
    engine.watch(({ action, id }) => {
      if (action.startsWith('exec_create')) this.#freezer.commandAnnounced(id)
      if (action.startsWith('exec_start')) this.#freezer.commandStarted(id)
    }, new AbortController().signal)
    const fencing: Pauses = {
      all: () => pauses.all(),
      pause: (due) => {
        this.#freezer.end('fence')
        return pauses.pause(due)
      },
      resume: (which) => pauses.resume(which),
      kill: (which) => pauses.kill(which),
    }
    const clock = {
      elapsedMs: () => machine.clocks.elapsedMs() - world.settings.watchdogSleepsMs,
      sleep: (ms: number, signal: AbortSignal) => (ms === WATCH_LOOK_MS ? this.#doze() : this.#clock.sleep(ms, signal)),
    }
    this.#watchdog = createWatchdog({ pauses: fencing, engine, clock, log })
    this.#newest = machine.guardFile
    if (machine.guardFile !== null) this.#tell(machine.guardFile)
    this.#mind()
  }

  /** Whether it knows of a volume, or has its word in its channel. */
  knows(id: string): boolean {
    return this.#newest?.volumes.some((volume) => volume.id === id) === true
  }

  /** What a new agent is told of the word that the watchdog acts on. */
  get guarded(): Guard['volumes'] {
    return this.#guard?.volumes ?? []
  }

  /** Requests of the agent. */
  freeze(request: FreezeRequest, frozen: () => void, ended: (end: FreezeEnd) => void): void {
    void this.#thawed.then(() => this.#freezer.freeze(request, () => {}, frozen, ended))
  }

  thaw(id: string): void {
    if (!this.#machine.world.settings.freezesStay) void this.#thawed.then(() => this.#freezer.thaw(id))
  }

  /** A word of the agent. */
  told(guard: Guard): void {
    this.#newest = guard
    this.life.after(this.#machine.world.chance.between(0.1, 2), () => {
      this.#toldMs = this.#clock.elapsedMs()
      this.#keep(guard)
      this.#tell(guard)
    })
  }

  /** The agent has ended, for whatever reason. */
  agentEnded(): void {
    if (!this.life.alive) return
    if (!this.#machine.world.settings.freezesStay) void this.#thawed.then(() => this.#freezer.end('agent'))
    const { chance } = this.#machine.world
    this.life.after(chance.between(AGENT_BACK_LEAST_MS, AGENT_BACK_MOST_MS), () => this.#machine.startAgent())
  }

  /** Written at once, or half a second after the last time. */
  #keep(guard: Guard): void {
    const idle = this.#unkept === null
    const known = (this.#unkept ?? this.#machine.guardFile)?.volumes.map(({ id }) => id) ?? []
    const isNew = guard.volumes.some(({ id }) => !known.includes(id))
    this.#unkept = guard
    if (!idle && !isNew) return
    const leftMs = isNew ? 0 : Math.max(0, this.#keptMs + GUARD_FILE_EVERY_MS - this.#clock.elapsedMs())
    this.life.after(leftMs + this.#machine.world.chance.between(0.1, 3), () => {
      if (this.#unkept !== null) this.#machine.guardFile = this.#unkept
      this.#unkept = null
      this.#keptMs = this.#clock.elapsedMs()
    })
  }

  #tell(guard: Guard): void {
    const before = this.#guard?.volumes.map(({ name }) => name).join(' ')
    const now = guard.volumes.map(({ name }) => name).join(' ')
    if (now !== before) this.#machine.world.trace(this.#machine.host, `watchdog: guards ${now || 'nothing'}`)
    this.#guard = guard
    this.#watchdog.guard(guard)
    this.#plan()
  }

  /** The same as looking every 100 ms, without the looks that would find nothing. */
  #doze(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      this.#plan()
    })
  }

  #plan(): void {
    if (this.#wake === null) return
    this.#wakeEvent?.cancel()
    if (this.#guard === null) return
    const { chance, settings } = this.#machine.world
    const dueMs = this.#guard.untilMs - this.#machine.clocks.elapsedMs() + settings.watchdogSleepsMs
    const ms = Math.max(
      chance.between(0, WATCH_LOOK_MS),
      dueMs / this.#machine.clocks.rate + chance.between(0, WATCH_LOOK_MS),
    )
    this.#wakeEvent = this.life.after(ms, () => {
      const wake = this.#wake
      this.#wake = null
      wake?.()
    })
  }

  /** An agent that is stuck for long is killed. */
  #mind(): void {
    const { leaseMs } = this.#machine.world.settings
    this.life.after(1_000, () => {
      const silentMs = this.#clock.elapsedMs() - this.#toldMs
      const { agent } = this.#machine
      if (
        agent?.life.alive &&
        this.#toldMs > 0 &&
        silentMs > 3 * leaseMs &&
        agent.life.stuckUntilMs > this.life.timeline.nowMs
      ) {
        this.#machine.killAgent('it was stuck')
      }
      this.#mind()
    })
  }
}

/** A clock on which no budget is ever over, for runs in which freezes stay. */
function freezeClock(clock: ProcessClock, { freezesStay, pauseBudgetMs }: Settings): WatchClock {
  return {
    elapsedMs: () => clock.elapsedMs(),
    sleep: (ms, signal) => clock.sleep(freezesStay && ms === pauseBudgetMs ? Number.MAX_SAFE_INTEGER : ms, signal),
  }
}
