import type { Guard } from '../../agent/fence/contract.ts'
import type { EngineFact } from '../../agent/host/engine-facts.ts'
import { Agent } from './agent.ts'
import { HostClocks } from './clocks.ts'
import { Containers } from './containers.ts'
import { Docker } from './docker.ts'
import type { Notes } from './held-pauses.ts'
import { HostFreezers } from './host-freezers.ts'
import { Plugin } from './plugin.ts'
import type { Settings } from './settings.ts'
import { SimDisk } from './sim-disk.ts'
import type { World } from './world.ts'

/** How long a host is without its agent after power is back: the kernel and the engine come first. */
const BOOT_LEAST_MS = 3_000
const BOOT_MOST_MS = 12_000
const RESTORE_LEAST_MS = 200
const RESTORE_MOST_MS = 2_000
/** dockerd starts a plugin that ended again at once. */
const PLUGIN_BACK_LEAST_MS = 50
const PLUGIN_BACK_MOST_MS = 1_000
/** What comes while the machine stands still happens soon after. */
const STILL_LOOK_MS = 100
/** The embedded server needs about so long. */
const SERVER_START_MS = 500

/** One host: power, disk, engine, and on them plugin and agent, which come and go. */
export class Machine {
  readonly world: World
  readonly host: string
  readonly clocks: HostClocks
  readonly disk: SimDisk
  readonly containers: Containers
  readonly docker: Docker
  /** `<state>/pauses`, of this boot. */
  readonly notes: Notes = new Map()
  readonly freezers: HostFreezers
  /** `<state>/frozen.json`. */
  frozenNote: readonly string[] = []
  guardFile: Guard | null = null
  drainWish = false
  engineFacts: EngineFact | null = null
  on = true
  plugin: Plugin | null = null
  agent: Agent | null = null
  /** The registry server of this host was stopped and stays so. */
  serverStopped = false
  /** How long this host's lease runs, where hosts differ. */
  lease: Pick<Settings, 'heartbeatMs' | 'leaseMs' | 'seizeAfterMs'>
  /** Something keeps the agent from starting. */
  agentBroken = false
  /** When a process of ours was last killed. */
  killedMs = Number.NEGATIVE_INFINITY
  /** The same by `clocks.ranMs`. */
  killedRanMs = Number.NEGATIVE_INFINITY
  /** Its hypervisor has stopped it. */
  still = false
  /** It has stood still, and has not renewed its lease since: it cannot know what became of it meanwhile. */
  unaware = false
  /** Counts boots: what was planned before a power cut is void. */
  boots = 0

  constructor(world: World, host: string, rate: number) {
    this.world = world
    this.host = host
    this.lease = world.settings
    this.clocks = new HostClocks(world.timeline, rate)
    this.disk = new SimDisk(host, world.chance, world.checker)
    this.containers = new Containers(host, world, world.checker, () => this.clocks.now())
    this.freezers = new HostFreezers(this.containers, world.settings)
    this.docker = new Docker(this)
  }

  boot(): void {
    this.on = true
    this.clocks.boot()
    this.world.network.onChange()
    const { chance } = this.world
    this.containers.away = true
    this.later(chance.between(BOOT_LEAST_MS, BOOT_MOST_MS), () => {
      this.startPlugin()
      // dockerd starts its plugins first, then finds that its containers are gone and serves.
      this.later(chance.between(RESTORE_LEAST_MS, RESTORE_MOST_MS), () => this.docker.restored())
    })
  }

  /** The hypervisor stops the machine: its clocks and all that runs on it stand still. Null: it is not in a state for that. Answers what lets it go on. */
  standStill(): (() => void) | null {
    const { agent, plugin, world, containers } = this
    if (!this.on || this.still || containers.away || !agent?.life.alive || !plugin?.life.alive) return null
    this.world.trace(this.host, 'stands still')
    this.still = true
    this.unaware = true
    this.clocks.stop()
    const lives = [agent.life, plugin.life]
    for (const life of lives) life.freeze()
    for (const container of containers.all) container.still = true
    const hasServer = world.registry.isRunning(this.host)
    world.registry.stopServer(this.host)
    world.network.onChange()
    const boot = this.boots
    return () => {
      if (!this.still || this.boots !== boot) return
      world.trace(this.host, 'goes on')
      this.still = false
      this.clocks.goOn()
      for (const life of lives) life.thaw()
      for (const container of containers.all) container.still = false
      if (hasServer) this.startServer()
      world.checker.goesOn(this.host)
      world.network.onChange()
    }
  }

  startPlugin(): void {
    if (!this.on || this.plugin?.life.alive) return
    this.plugin = new Plugin(this, this.world.log(this.host, 'plugin'))
    this.startAgent()
  }

  startAgent(): void {
    if (!this.on || this.agentBroken || !this.plugin?.life.alive || this.agent?.life.alive) return
    this.world.trace(this.host, 'agent starts')
    this.later(this.world.chance.between(0, SERVER_START_MS), () => this.startServer())
    const agent = new Agent(this, this.world.log(this.host, 'agent'))
    this.agent = agent
    this.world.checker.vigil.changedAgents()
    agent.start().catch((error: unknown) => this.world.checker.failed('bug', `${this.host}: start: ${String(error)}`))
  }

  startServer(): void {
    if (this.on && !this.serverStopped && this.agent?.life.alive) this.world.registry.startServer(this.host)
  }

  killAgent(why: string): void {
    const { agent } = this
    if (!agent?.life.alive) return
    this.world.trace(this.host, `agent killed: ${why}`)
    this.killedMs = this.world.timeline.nowMs
    this.killedRanMs = this.clocks.ranMs
    agent.serves = false
    agent.life.end()
    this.disk.agentEnded()
    this.world.checker.vigil.changedAgents()
    // The server is a process of its own: it may live on until the next agent replaces it.
    if (this.world.chance.hit(0.5)) this.world.registry.stopServer(this.host)
    this.docker.agentEnded()
    this.plugin?.agentEnded()
  }

  /** In a managed plugin all processes end with the first one. */
  killPlugin(): void {
    if (!this.plugin?.life.alive) return
    this.world.trace(this.host, 'plugin killed')
    this.plugin.life.end()
    this.killAgent('with its plugin')
    this.world.registry.stopServer(this.host)
    this.later(this.world.chance.between(PLUGIN_BACK_LEAST_MS, PLUGIN_BACK_MOST_MS), () => this.startPlugin())
  }

  powerCut(): void {
    if (!this.on) return
    this.world.trace(this.host, 'power cut')
    this.on = false
    this.still = false
    this.unaware = false
    this.boots++
    this.plugin?.life.end()
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

  /** The run is over: nothing goes on. */
  powerOff(): void {
    this.on = false
    this.boots++
    this.plugin?.life.end()
    this.agent?.life.end()
  }

  /** Something that this boot of the host does later. */
  later(ms: number, run: () => void): void {
    const boot = this.boots
    const attempt = () => {
      if (!this.on || this.boots !== boot) return
      if (this.still) this.world.timeline.after(STILL_LOOK_MS, attempt)
      else run()
    }
    this.world.timeline.after(ms, attempt)
  }
}
