import type { Guard } from '../../agent/fence/contract.ts'
import type { EngineFact } from '../../agent/host/engine-facts.ts'
import type { FakePauseNotes } from '../fake/pauses.ts'
import { SimAgent } from './agent.ts'
import { HostClocks } from './clocks.ts'
import { type Container, SimContainers } from './containers.ts'
import { Docker } from './docker.ts'
import { HostFreezers } from './host-freezers.ts'
import { Plugin } from './plugin.ts'
import type { Settings } from './settings.ts'
import { SimDisk } from './sim-disk.ts'
import type { SimWorld } from './world.ts'

/** How long a host has no agent after power is back: the kernel and the engine come first. */
const BOOT_LEAST_MS = 3_000
const BOOT_MOST_MS = 12_000
const RESTORE_LEAST_MS = 200
const RESTORE_MOST_MS = 2_000
/** dockerd restarts a plugin that ended, at once. */
const PLUGIN_BACK_LEAST_MS = 50
const PLUGIN_BACK_MOST_MS = 1_000
/** What falls due while the machine is stopped happens soon after. */
const STOPPED_CHECK_MS = 100
/** The embedded server needs about so long. */
const SERVER_START_MS = 500

/** One host: power, disk and engine, and on them plugin and agent, which come and go. */
export class Machine {
  readonly world: SimWorld
  readonly host: string
  readonly clocks: HostClocks
  readonly disk: SimDisk
  readonly containers: SimContainers
  readonly docker: Docker
  /** `<state>/pauses`, of this boot. */
  readonly notes: FakePauseNotes = new Map()
  readonly freezers: HostFreezers
  /** `<state>/frozen.json`. */
  frozenNote: readonly string[] = []
  guardFile: Guard | null = null
  drainFlag = false
  engineFacts: EngineFact | null = null
  on = true
  plugin: Plugin | null = null
  agent: SimAgent | null = null
  /** The registry server of this host was stopped, and stays so. */
  serverStopped = false
  /** The lease of this host, where hosts differ. */
  lease: Pick<Settings, 'heartbeatMs' | 'leaseMs' | 'seizeAfterMs'>
  /** Something keeps the agent from starting. */
  agentBroken = false
  /** When a process of ours was last killed. */
  killedMs = Number.NEGATIVE_INFINITY
  /** The same by `clocks.ranMs`. */
  killedRanMs = Number.NEGATIVE_INFINITY
  /** Its hypervisor has stopped it. */
  stopped = false
  /** It was stopped and has not renewed its lease since: it cannot know what was taken over meanwhile. */
  unaware = false
  /** It runs the next version of Wherry from its next start on. */
  newer = false
  /** Counts boots: what was planned before a power cut is void. */
  boots = 0

  constructor(world: SimWorld, host: string, rate: number) {
    this.world = world
    this.host = host
    this.lease = world.settings
    this.clocks = new HostClocks(world.timeline, rate)
    const { checker } = world
    this.disk = new SimDisk(host, world.random, {
      replaced: (...args) => checker.data.replaced(...args),
      recordChanged: (...args) => checker.recordChanged(...args),
    })
    const watch = {
      changed: (container: Container) => checker.changed(host, container),
      write: (container: Container) => checker.write(host, container),
      froze: (container: Container) => checker.freezes.froze(host, container),
      released: (container: Container) => checker.freezes.released(host, container),
    }
    this.containers = new SimContainers(host, world, watch, () => this.clocks.now())
    this.freezers = new HostFreezers(this.containers, world.settings)
    this.docker = new Docker(this)
  }

  boot(): void {
    this.on = true
    this.clocks.boot()
    this.world.network.onChange()
    const { random } = this.world
    this.containers.away = true
    this.later(random.between(BOOT_LEAST_MS, BOOT_MOST_MS), () => {
      this.startPlugin()
      // dockerd starts its plugins first, then finds that its containers are gone and serves.
      this.later(random.between(RESTORE_LEAST_MS, RESTORE_MOST_MS), () => this.docker.restored())
    })
  }

  /**
   * Stops the machine as its hypervisor does: its clocks and processes stop. Returns what resumes it; null: it cannot
   * be stopped now.
   */
  stop(): (() => void) | null {
    const { agent, plugin, world, containers } = this
    if (!this.on || this.stopped || containers.away || !agent?.process.alive || !plugin?.process.alive) return null
    this.world.trace(this.host, 'is stopped')
    this.stopped = true
    this.unaware = true
    this.clocks.stop()
    const processes = [agent.process, plugin.process]
    for (const process of processes) process.freeze()
    for (const container of containers.all) container.stopped = true
    const hasServer = world.registry.isRunning(this.host)
    world.registry.stopServer(this.host)
    world.network.onChange()
    const boot = this.boots
    return () => {
      if (!this.stopped || this.boots !== boot) return
      world.trace(this.host, 'runs again')
      this.stopped = false
      this.clocks.resume()
      for (const process of processes) process.thaw()
      for (const container of containers.all) container.stopped = false
      if (hasServer) this.startServer()
      world.checker.resumed(this.host)
      world.network.onChange()
    }
  }

  startPlugin(): void {
    if (!this.on || this.plugin?.process.alive) return
    this.plugin = new Plugin(this, this.world.log(this.host, 'plugin'))
    this.startAgent()
  }

  startAgent(): void {
    if (!this.on || this.agentBroken || !this.plugin?.process.alive || this.agent?.process.alive) return
    this.world.trace(this.host, 'agent starts')
    this.later(this.world.random.between(0, SERVER_START_MS), () => this.startServer())
    const agent = new SimAgent(this, this.world.log(this.host, 'agent'))
    this.agent = agent
    this.world.checker.liveness.changedAgents()
    agent.start().catch((error: unknown) => this.world.checker.failed('bug', `${this.host}: start: ${String(error)}`))
  }

  startServer(): void {
    if (this.on && !this.serverStopped && this.agent?.process.alive) this.world.registry.startServer(this.host)
  }

  killAgent(why: string): void {
    const { agent } = this
    if (!agent?.process.alive) return
    this.world.trace(this.host, `agent killed: ${why}`)
    this.killedMs = this.world.timeline.nowMs
    this.killedRanMs = this.clocks.ranMs
    agent.serves = false
    agent.process.end()
    this.disk.agentEnded()
    this.world.checker.liveness.changedAgents()
    // The server is a process of its own: it may outlive the agent until the next one replaces it.
    if (this.world.random.hit(0.5)) this.world.registry.stopServer(this.host)
    this.docker.agentEnded()
    this.plugin?.agentEnded()
  }

  /** In a managed plugin all processes end with the first one. */
  killPlugin(): void {
    if (!this.plugin?.process.alive) return
    this.world.trace(this.host, 'plugin killed')
    this.plugin.process.end()
    this.killAgent('with its plugin')
    this.world.registry.stopServer(this.host)
    this.later(this.world.random.between(PLUGIN_BACK_LEAST_MS, PLUGIN_BACK_MOST_MS), () => this.startPlugin())
  }

  powerCut(): void {
    if (!this.on) return
    this.world.trace(this.host, 'power cut')
    this.on = false
    this.stopped = false
    this.unaware = false
    this.boots++
    this.plugin?.process.end()
    this.killAgent('with its host')
    this.world.registry.stopServer(this.host)
    this.disk.powerCut()
    this.notes.clear()
    this.frozenNote = []
    this.guardFile = null
    this.containers.away = false
    this.docker.powerCut()
    this.world.network.onChange()
  }

  /** Ends everything: the run is over. */
  powerOff(): void {
    this.on = false
    this.boots++
    this.plugin?.process.end()
    this.agent?.process.end()
  }

  /** Does something later, unless the host has rebooted by then. */
  later(ms: number, run: () => void): void {
    const boot = this.boots
    const attempt = () => {
      if (!this.on || this.boots !== boot) return
      if (this.stopped) this.world.timeline.after(STOPPED_CHECK_MS, attempt)
      else run()
    }
    this.world.timeline.after(ms, attempt)
  }
}
