import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { type CommandOptions, type CommandResult, run } from './command.ts'
import { chosenEngine, type EngineVersion, fetchEngine, type LabEngine } from './engine.ts'
import { LabGuard } from './guard.ts'
import { Host, type StateDisk } from './host.ts'
import { buildImage, type ImageDefinition, pushImage } from './image.ts'
import { createSwitch, namespaceOfHost, SWITCH, setLink, setRate } from './network.ts'
import { installPlugin, type PluginSettings, placeCertificates, publishPlugin } from './plugin.ts'
import { type LabRecord, writeRecord } from './record.ts'
import { REGISTRY, startRegistry } from './registry.ts'
import { joinSwarm, type SwarmRole } from './swarm.ts'
import { controlGroupOf } from './takedown.ts'

export interface LabOptions {
  /** How many hosts; 3 unless said otherwise. */
  readonly hosts?: number
  /** Join them into a Swarm; true: all are managers. */
  readonly swarm?: boolean | SwarmRole
  /** LAB_ENGINE, or 28.5, unless said otherwise. */
  readonly engine?: EngineVersion
  /** Keep containers over a restart of the engine (Docker refuses it together with Swarm). */
  readonly liveRestore?: boolean
  /** State directories on small disks of their own. */
  readonly stateDisk?: StateDisk
  readonly log?: (line: string) => void
}

export interface PluginOptions {
  readonly settings?: PluginSettings
  /** A directory made by scripts/build-plugin; built unless given. */
  readonly built?: string
}

/** Data of several engines ends up here: a real disk, never memory. */
const DEFAULT_PLACE = '/var/tmp'
/** The host with control groups of version 2. */
const V2_HOST = 3
/** How much of each log is worth reading after a failure. */
const LOG_TAIL_CHARS = 8_000

/**
 * Several Docker hosts on this machine. One lab at a time: a second start waits for the first to end. Whatever becomes
 * of the process that started it, everything is taken down again, unless `keep` was called.
 */
export class Lab implements AsyncDisposable {
  readonly directory: string
  readonly engine: LabEngine
  readonly hosts: readonly Host[]
  readonly registry = REGISTRY
  readonly #guard: LabGuard
  readonly #images = new Map<string, Promise<string>>()
  #plugin: Promise<string> | undefined

  private constructor(directory: string, engine: LabEngine, hosts: readonly Host[], guard: LabGuard) {
    this.directory = directory
    this.engine = engine
    this.hosts = hosts
    this.#guard = guard
  }

  /** Starts a lab; resolves when all engines respond and, if wanted, the Swarm's nodes are ready. */
  static async start(options: LabOptions = {}): Promise<Lab> {
    const engine = await fetchEngine(options.engine ?? chosenEngine())
    const guard = await LabGuard.start(options.log ?? (() => {}))
    try {
      const lab = Lab.#prepare(options, engine, guard)
      await createSwitch()
      await Promise.all([startRegistry(lab.directory), ...lab.hosts.map((host) => host.start())])
      const swarm = options.swarm === true ? 'managers' : options.swarm
      if (swarm) await joinSwarm(lab.hosts, swarm)
      return lab
    } catch (error) {
      await guard.takeDown()
      throw error
    }
  }

  static #prepare(options: LabOptions, engine: LabEngine, guard: LabGuard): Lab {
    const directory = mkdtempSync(`${process.env.WHERRY_LAB_DIR ?? DEFAULT_PLACE}/wherry-lab-`)
    const numbers = Array.from({ length: options.hosts ?? 3 }, (_, position) => position + 1)
    const record: LabRecord = { directory, namespaces: [SWITCH, ...numbers.map(namespaceOfHost)] }
    writeRecord(record)
    const common = {
      directory,
      engine,
      registry: REGISTRY,
      controlGroup: controlGroupOf(record),
      liveRestore: options.liveRestore ?? false,
      stateDisk: options.stateDisk,
    }
    // Most hosts of users have version 2; so that every test sees both, one host of a lab has it whatever the machine
    // has.
    const hosts = numbers.map((index) => {
      return new Host({ ...common, index, controlGroups: index === V2_HOST ? 'v2' : 'machine' })
    })
    return new Lab(directory, engine, hosts, guard)
  }

  /** The host with this number, from 1 on. */
  host(number: number): Host {
    const host = this.hosts[number - 1]
    if (host === undefined) throw new Error(`the lab has ${this.hosts.length} hosts, no h${number}`)
    return host
  }

  /** Installs Wherry on all hosts (or those given) the way users do: registry, install, certificates, set, enable. */
  async installPlugin(options: PluginOptions = {}, hosts: readonly Host[] = this.hosts): Promise<void> {
    this.#plugin ??= publishPlugin(this.host(1), this.directory, options.built)
    const [reference] = await Promise.all([this.#plugin, this.certificates()])
    const peers = this.hosts.length > 1 ? this.hosts.map(({ address }) => address).join(',') : ''
    await Promise.all(
      hosts.map((host) =>
        installPlugin(host, reference, {
          'state.source': host.stateDir,
          'docker.source': host.socket,
          WHERRY_ADVERTISE: host.address,
          WHERRY_PEERS: peers,
          ...options.settings,
        }),
      ),
    )
  }

  /** Puts certificates into the hosts' state directories; a single host needs none. */
  async certificates(): Promise<void> {
    const missing = this.hosts.filter((host) => !existsSync(`${host.stateSeen}/tls/cert.pem`))
    if (this.hosts.length > 1 && missing.length > 0) await placeCertificates(this.hosts, this.directory)
  }

  /** Builds an image (once per machine) and pushes it to the lab's registry (once per lab); returns its reference. */
  image(definition: ImageDefinition): Promise<string> {
    let reference = this.#images.get(definition.name)
    if (reference === undefined) {
      reference = buildImage(definition).then(pushImage)
      this.#images.set(definition.name, reference)
    }
    return reference
  }

  /** Plugs or unplugs a host's network cable. */
  async link(host: Host, state: 'up' | 'down'): Promise<void> {
    await setLink(host.index, state)
  }

  /** Slows a host's network link down, in both directions; null: as fast as it goes. */
  async rate(host: Host, bitsPerSecond: number | null): Promise<void> {
    await setRate(host.index, bitsPerSecond)
  }

  /** Runs a program on the switch: in the lab's network, but on none of its hosts. */
  exec(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run('nsenter', [`--net=/run/netns/${SWITCH}`, ...command], options)
  }

  /** Starts a program on the switch that runs on: a witness, a client. Ends with the lab at the latest. */
  spawn(command: readonly string[]): ChildProcess {
    return spawn('nsenter', [`--net=/run/netns/${SWITCH}`, ...command], { stdio: ['pipe', 'pipe', 'pipe'] })
  }

  /** The ends of all engines' logs (plugins write there too), for a failed test's output. */
  logs(): string {
    const parts = this.hosts.map((host) => `--- ${host.name}\n${host.engineLog().slice(-LOG_TAIL_CHARS)}`)
    return [...parts, `--- registry\n${readFileSync(`${this.directory}/registry.log`, 'utf8')}`].join('\n')
  }

  /** Ends the owner's watch and leaves everything running; the next start of a lab takes it down. */
  async keep(): Promise<void> {
    await this.#guard.leave()
  }

  /** Takes everything down. Safe to repeat. */
  async stop(): Promise<void> {
    await this.#guard.takeDown()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
