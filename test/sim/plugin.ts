import type { Logger } from 'pino'
import type { FreezeEnd, FreezeRequest, Guard, Pauses } from '../../agent/fence/contract.ts'
import { Freezer } from '../../agent/fence/freezer.ts'
import { thawLeftOver } from '../../agent/fence/thaw-left-over.ts'
import { createWatchdog, type RunningWatchdog, type WatchClock } from '../../agent/fence/watchdog.ts'
import type { TimelineEvent } from '../fake/timeline.ts'
import { ProcessClock } from './clocks.ts'
import { EngineClient, pausesOf } from './engine-client.ts'
import { frozenNotesOf } from './host-freezers.ts'
import type { Machine } from './machine.ts'
import { SimProcess } from './process.ts'
import type { Settings } from './settings.ts'

/** The real watchdog reads the clock this often (agent/fence/watchdog.ts). */
const WATCH_LOOK_MS = 100
/** plugin/supervisor.ts: back-off of a fresh agent. */
const AGENT_BACK_LEAST_MS = 100
const AGENT_BACK_MOST_MS = 2_000
/** `guard.json` is at most this much older than the last message. */
const GUARD_FILE_EVERY_MS = 500

/** The plugin's process: the real watchdog and freezer, and the restarts of the agent. */
export class Plugin {
  readonly process: SimProcess
  readonly #machine: Machine
  readonly #watchdog: RunningWatchdog
  readonly #freezer: Freezer
  /** Resolves once what earlier processes left frozen is thawed. */
  readonly #thawed: Promise<void>
  readonly #clock: ProcessClock
  #guard: Guard | null = null
  /** The newest message of the agent; it may be on its way. */
  #newest: Guard | null
  #toldMs = 0
  /** The guard that is about to be written to `guard.json`, and when it was last written. */
  #unkept: Guard | null = null
  #keptMs = Number.NEGATIVE_INFINITY
  #wake: (() => void) | null = null
  #wakeEvent: TimelineEvent | null = null

  constructor(machine: Machine, log: Logger) {
    this.#machine = machine
    const { world, host } = machine
    this.process = new SimProcess(world.timeline, `plugin of ${host}`)
    this.#clock = new ProcessClock(machine.clocks, this.process)
    const engine = new EngineClient(machine, this.process, world.random, world.swarm)
    const pauses = pausesOf(machine, engine, this.process, world.random)
    const files = machine.freezers.of(this.process)
    const notes = frozenNotesOf(machine, this.process, world.random)
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
      sleep: (ms: number, signal: AbortSignal) =>
        ms === WATCH_LOOK_MS ? this.#sleepUntilDue() : this.#clock.sleep(ms, signal),
    }
    this.#watchdog = createWatchdog({ pauses: fencing, engine, clock, log })
    this.#newest = machine.guardFile
    if (machine.guardFile !== null) this.#tellWatchdog(machine.guardFile)
    this.#watchAgent()
  }

  /** Whether it guards the volume, or the message about it is in its channel. */
  knows(id: string): boolean {
    return this.#newest?.volumes.some((volume) => volume.id === id) === true
  }

  /** What a new agent is told that the watchdog guards. */
  get guarded(): Guard | null {
    return this.#guard
  }

  /** The agent requests a freeze. */
  freeze(request: FreezeRequest, frozen: () => void, ended: (end: FreezeEnd) => void): void {
    void this.#thawed.then(() => this.#freezer.freeze(request, () => {}, frozen, ended))
  }

  thaw(id: string): void {
    if (!this.#machine.world.settings.freezesStay) void this.#thawed.then(() => this.#freezer.thaw(id))
  }

  /** A message of the agent. */
  notify(guard: Guard): void {
    this.#newest = guard
    this.process.after(this.#machine.world.random.between(0.1, 2), () => {
      this.#toldMs = this.#clock.elapsedMs()
      this.#writeGuard(guard)
      this.#tellWatchdog(guard)
    })
  }

  /** The agent has ended, for whatever reason. */
  agentEnded(): void {
    if (!this.process.alive) return
    if (!this.#machine.world.settings.freezesStay) void this.#thawed.then(() => this.#freezer.end('agent'))
    const { random } = this.#machine.world
    this.process.after(random.between(AGENT_BACK_LEAST_MS, AGENT_BACK_MOST_MS), () => this.#machine.startAgent())
  }

  /** Writes the guard to its file at once, or half a second after the last time. */
  #writeGuard(guard: Guard): void {
    const idle = this.#unkept === null
    const known = (this.#unkept ?? this.#machine.guardFile)?.volumes.map(({ id }) => id) ?? []
    const isNew = guard.volumes.some(({ id }) => !known.includes(id))
    this.#unkept = guard
    if (!idle && !isNew) return
    const leftMs = isNew ? 0 : Math.max(0, this.#keptMs + GUARD_FILE_EVERY_MS - this.#clock.elapsedMs())
    this.process.after(leftMs + this.#machine.world.random.between(0.1, 3), () => {
      if (this.#unkept !== null) this.#machine.guardFile = this.#unkept
      this.#unkept = null
      this.#keptMs = this.#clock.elapsedMs()
    })
  }

  #tellWatchdog(guard: Guard): void {
    const before = this.#guard?.volumes.map(({ name }) => name).join(' ')
    const now = guard.volumes.map(({ name }) => name).join(' ')
    if (now !== before) this.#machine.world.trace(this.#machine.host, `watchdog: guards ${now || 'nothing'}`)
    this.#guard = guard
    this.#watchdog.guard(guard)
    this.#plan()
  }

  /** Sleeps until the watchdog has something to do: the same as waking every 100 ms. */
  #sleepUntilDue(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      this.#plan()
    })
  }

  #plan(): void {
    if (this.#wake === null) return
    this.#wakeEvent?.cancel()
    if (this.#guard === null) return
    const { random, settings } = this.#machine.world
    const dueMs = this.#guard.untilMs - this.#machine.clocks.elapsedMs() + settings.watchdogSleepsMs
    const ms = Math.max(
      random.between(0, WATCH_LOOK_MS),
      dueMs / this.#machine.clocks.rate + random.between(0, WATCH_LOOK_MS),
    )
    this.#wakeEvent = this.process.after(ms, () => {
      const wake = this.#wake
      this.#wake = null
      wake?.()
    })
  }

  /** Kills an agent that is stuck for long. */
  #watchAgent(): void {
    const { leaseMs } = this.#machine.world.settings
    this.process.after(1_000, () => {
      const silentMs = this.#clock.elapsedMs() - this.#toldMs
      const { agent } = this.#machine
      if (
        agent?.process.alive &&
        this.#toldMs > 0 &&
        silentMs > 3 * leaseMs &&
        agent.process.stuckUntilMs > this.process.timeline.nowMs
      ) {
        this.#machine.killAgent('it was stuck')
      }
      this.#watchAgent()
    })
  }
}

/** Returns a clock on which no budget ever ends, for runs in which freezes stay. */
function freezeClock(clock: ProcessClock, { freezesStay, pauseBudgetMs }: Settings): WatchClock {
  return {
    elapsedMs: () => clock.elapsedMs(),
    sleep: (ms, signal) => clock.sleep(freezesStay && ms === pauseBudgetMs ? Number.MAX_SAFE_INTEGER : ms, signal),
  }
}
