import type { Logger } from 'pino'
import type { VolumeOptions } from '../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../agent/model/volume-options.ts'
import { Timeline } from '../fake/timeline.ts'
import type { SimAgent } from './agent.ts'
import { Checker } from './checker.ts'
import { ClusterRegistry } from './cluster-registry.ts'
import { HostilePeer } from './hostile-peer.ts'
import { checkingLogger } from './logger.ts'
import { Machine } from './machine.ts'
import { Network } from './network.ts'
import { Operators } from './operators.ts'
import { Random } from './random.ts'
import { drawScenarios, leasesOf, optionsOf, type Scenarios } from './scenarios.ts'
import type { Settings } from './settings.ts'
import { SimBus } from './sim-bus.ts'
import { Swarm } from './swarm.ts'

/** Clocks drift by at most this much. */
const DRIFT_MOST = 0.01
/** When surplus copies are dropped soon: longer than most faults, and short beside a run. */
const REPLACE_LEAST_MS = 15_000
const REPLACE_MOST_MS = 60_000

/** Everything there is in one run. */
export class SimWorld {
  readonly seed: number
  readonly timeline = new Timeline()
  readonly random: Random
  readonly settings: Settings
  readonly hosts: readonly string[]
  readonly volumes: readonly string[]
  readonly scenarios: Scenarios
  /** The options of all volumes. */
  readonly options: VolumeOptions
  readonly replaceAfterMs: number
  readonly network: Network
  readonly registry: ClusterRegistry
  readonly bus: SimBus
  readonly swarm: Swarm
  readonly checker: Checker
  readonly operators: Operators
  /** Somebody with the key of a host; null: there is nobody in this run. */
  readonly hostile: HostilePeer | null
  readonly #machines = new Map<string, Machine>()
  readonly #traceLine: ((line: string) => void) | null
  #ids = 0

  constructor(seed: number, settings: Settings, traceLine: ((line: string) => void) | null) {
    this.seed = seed
    this.settings = settings
    this.#traceLine = traceLine
    const random = new Random(seed)
    this.random = random
    const count = random.pick([2, 3, 3, 3, 4, 5])
    this.hosts = Array.from({ length: count }, (_, at) => `h${at + 1}`)
    this.volumes = random.hit(0.3) ? ['a', 'b'] : ['a']
    this.scenarios = drawScenarios(random, settings.always)
    const drawn = { copies: random.pick([2, 2, 2, 3]), checkpointMs: random.pick([2_000, 5_000, 10_000]) }
    this.options = optionsOf(this.scenarios, { ...DEFAULT_OPTIONS, ...drawn })
    this.replaceAfterMs = this.scenarios.has('trims')
      ? random.between(REPLACE_LEAST_MS, REPLACE_MOST_MS)
      : settings.replaceAfterMs
    this.network = new Network(this.timeline, random, (host) => this.machine(host).on && !this.machine(host).stopped)
    this.checker = new Checker(this)
    this.operators = new Operators(this)
    this.hostile = this.scenarios.has('hostile') ? new HostilePeer(this, random.pick(this.hosts)) : null
    for (const host of this.hosts) {
      this.#machines.set(host, new Machine(this, host, 1 + random.between(-DRIFT_MOST, DRIFT_MOST)))
    }
    if (this.scenarios.has('versions')) for (const machine of this.machines()) machine.newer = random.hit(0.5)
    for (const { lease, host } of leasesOf(this.scenarios, this.hosts, random)) this.machine(host).lease = lease
    const servers = this.hosts.slice(0, Math.min(count, random.pick([1, 3, 3, 3, 5])))
    this.registry = new ClusterRegistry(servers, {
      timeline: this.timeline,
      random,
      network: this.network,
      onCommit: (commit) => {
        this.checker.commits.audit(commit)
        this.checker.versions.committed(commit)
      },
      onForeign: ({ key, writer }) => this.checker.wroteForeign(key, writer),
      trace: this.trace,
    })
    this.bus = new SimBus(random, this.network, this.registry)
    this.swarm = new Swarm(this, this.volumes)
    this.network.onChange = () => this.registry.look()
    const { copies, checkpointMs } = this.options
    const size = `${count} hosts, ${servers.length} servers, volumes ${this.volumes.join(' ')}`
    this.trace(
      '-',
      `seed ${seed}: ${size}, copies ${copies}, checkpoint ${checkpointMs}, ${[...this.scenarios].join(' ')}`,
    )
  }

  readonly machine = (host: string): Machine => {
    const found = this.#machines.get(host)
    if (found === undefined) throw new Error(`no machine ${host}`)
    return found
  }

  readonly machines = (): readonly Machine[] => [...this.#machines.values()]

  /** The agent that serves at an address now. */
  readonly serving = (address: string): SimAgent | null => {
    const { agent, stopped } = this.machine(address)
    return agent?.process.alive && agent.serves && !stopped ? agent : null
  }

  newId(): string {
    return `01SIM${String(++this.#ids).padStart(21, '0')}`
  }

  readonly trace = (who: string, what: string): void => {
    this.#traceLine?.(`${(this.timeline.nowMs / 1000).toFixed(3).padStart(8)} ${who.padEnd(8)} ${what}`)
  }

  /** The log of one process of a host. */
  log(host: string, part: string): Logger {
    const failed = (text: string) => this.checker.failed('bug', text)
    return checkingLogger(`${host}/${part}`, failed, this.#traceLine === null ? null : this.trace)
  }
}
