import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type CommandOptions, type CommandResult, run } from './command.ts'
import { daemonCommands, engineAnswers, type LabEngine, openLog } from './engine.ts'
import { addressOfHost, createHostNetwork, deleteLink, namespaceOfHost, setLink } from './network.ts'
import { until } from './poll.ts'
import { type Process, processesInNamespace, withDescendants } from './processes.ts'
import { deleteNamespace, killNamespace } from './takedown.ts'

export interface HostOptions {
  readonly index: number
  /** The lab's directory. */
  readonly directory: string
  readonly engine: LabEngine
  readonly registry: string
  readonly controlGroup: string
  /** `v2`: control groups of version 2; `machine`: those of the machine, whichever these are. */
  readonly controlGroups: 'v2' | 'machine'
  readonly liveRestore: boolean
  /** Puts the state directory on a file system of its own of this size. */
  readonly stateDisk: StateDisk | undefined
}

export interface StateDisk {
  readonly sizeBytes: number
  readonly type: 'ext4' | 'xfs' | 'btrfs'
}

const INIT_SCRIPT = fileURLToPath(new URL('host-init.sh', import.meta.url))
/** Engines start side by side on few cores; nothing here takes longer unless it hangs. */
const START_TIMEOUT_MS = 90_000

/** One machine of the lab: namespaces of its own with a Docker engine in them. */
export class Host {
  readonly name: string
  readonly index: number
  readonly address: string
  /** Wherry's state directory as the host itself names it. */
  readonly stateDir: string
  readonly directory: string
  /** The engine's socket as seen from outside the host. */
  readonly socket: string
  readonly namespace: string
  readonly #options: HostOptions
  #initPid: number | null = null
  /** Starts a dockerd for each line it is sent (see engine-sockets.pl). */
  #engineStarter: ChildProcess | undefined

  constructor(options: HostOptions) {
    this.#options = options
    this.index = options.index
    this.name = `h${options.index}`
    this.address = addressOfHost(options.index)
    this.namespace = namespaceOfHost(options.index)
    this.directory = `${options.directory}/${this.name}`
    this.stateDir = `${this.directory}/state`
    this.socket = `${this.directory}/docker.sock`
  }

  /**
   * Where the state directory is found from outside while the host runs, also when it is a disk mounted inside only.
   */
  get stateSeen(): string {
    if (this.#initPid === null) throw new Error(`${this.name} is not running`)
    return `/proc/${this.#initPid}/root${this.stateDir}`
  }

  /** Makes the host's files and starts it; resolves when its engine responds. */
  async start(): Promise<void> {
    mkdirSync(this.stateDir, { recursive: true })
    writeFileSync(`${this.directory}/resolv.conf`, 'nameserver 127.0.0.1\n')
    await this.#makeStateDisk()
    await this.boot()
  }

  /** Runs the engine's own docker command against this host. */
  docker(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    const env = {
      ...options.env,
      PATH: this.#options.engine.path,
      DOCKER_HOST: `unix://${this.socket}`,
      // Not the user's own: contexts, proxies and credentials there are no part of the lab.
      DOCKER_CONTEXT: 'default',
      DOCKER_CONFIG: `${this.#options.directory}/docker-config`,
    }
    return run(`${this.#options.engine.directory}/usr/bin/docker`, args, { ...options, env })
  }

  /** Runs a program inside the host's namespaces, as someone logged in there would. */
  exec(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return run('nsenter', [...this.#enter(), ...command], options)
  }

  /** Everything engine and plugin have printed since the host was made. */
  engineLog(): string {
    return readFileSync(this.#logFile('dockerd'), 'utf8')
  }

  /** Processes of this host whose command line matches: engine, plugin, containers. */
  processes(pattern: RegExp): Process[] {
    return withDescendants(processesInNamespace(this.namespace)).filter(
      ({ pid, command }) => pid !== this.#initPid && pattern.test(command) && !command.startsWith('nsenter '),
    )
  }

  /** Sends a signal to a process found by `processes`. */
  kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
    process.kill(pid, signal)
  }

  /** Starts the host after a power cut: new namespaces, empty /run, then the engine. */
  async boot(): Promise<void> {
    await createHostNetwork(this.index)
    await this.#startInit()
    this.#startDaemon('containerd')
    this.#engineStarter = this.#startDaemon('dockerd')
    await this.startEngine()
  }

  /**
   * Cuts the power: the cable is dead first, so that no farewell of the dying processes reaches the others; then
   * everything is killed at once. The disk stays.
   */
  async powerCut(): Promise<void> {
    await setLink(this.index, 'down')
    const init = this.#initPid
    this.#initPid = null
    if (init !== null) process.kill(init, 'SIGKILL')
    await killNamespace(this.namespace)
    // By hand: the kernel takes its time over devices of a namespace that is gone, and the next boot needs the name.
    await deleteLink(this.index)
    await deleteNamespace(this.namespace)
  }

  /** Kills dockerd alone with SIGKILL; containerd, containers and plugins stay as they are. */
  async killEngine(): Promise<void> {
    await this.#endEngine('SIGKILL')
  }

  /** Stops dockerd as a service manager does. */
  async stopEngine(): Promise<void> {
    await this.#endEngine('SIGTERM')
  }

  /** Starts dockerd in the host as it is; resolves when it responds. */
  async startEngine(): Promise<void> {
    this.#engineStarter?.stdin?.write('start\n')
    await until(`${this.name}: a dockerd`, () => this.#dockerds().length > 0, { timeoutMs: 5_000, everyMs: 20 })
    const end = await until(
      `${this.name}: an answer of the engine`,
      async () => ((await engineAnswers(this.socket)) ? 'answers' : this.#dockerds().length === 0 && 'died'),
      { timeoutMs: START_TIMEOUT_MS, everyMs: 50 },
    )
    if (end === 'died') throw new Error(`${this.name}: dockerd ended at once\n${this.engineLog().slice(-4_000)}`)
  }

  #dockerds(): Process[] {
    return this.processes(/^\S*\/dockerd /)
  }

  async #endEngine(signal: NodeJS.Signals): Promise<void> {
    for (const { pid } of this.#dockerds()) process.kill(pid, signal)
    await until(`${this.name}: the end of dockerd`, () => this.#dockerds().length === 0, { everyMs: 20 })
    await this.exec(['rm', '-f', '/run/docker.pid'])
  }

  async #startInit(): Promise<void> {
    const { engine, controlGroups } = this.#options
    // nsenter, not `ip netns exec`: that one remounts /sys, and the engine then finds no control groups.
    const child = spawn(
      'nsenter',
      [
        `--net=/run/netns/${this.namespace}`,
        ...['unshare', '--pid', '--uts', '--mount', '--fork', '--kill-child', '--propagation', 'slave'],
        ...[INIT_SCRIPT, this.name, this.directory, `${engine.directory}/usr/bin/docker-init`, controlGroups],
      ],
      { detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    await firstLine(child, `${this.name}: the host's first process`)
    const init = withDescendants(processesInNamespace(this.namespace)).find(({ parent }) => parent === child.pid)
    if (init === undefined) throw new Error(`${this.name}: the host's first process ended at once`)
    this.#initPid = init.pid
    detach(child)
  }

  #startDaemon(name: 'containerd' | 'dockerd'): ChildProcess {
    const { engine, registry, controlGroup, liveRestore } = this.#options
    const { directory } = this
    const sockets = ['/run/docker.sock', this.socket]
    const commands = daemonCommands({ engine, directory, sockets, registry, controlGroup, liveRestore })
    const log = openLog(this.#logFile(name))
    const child = spawn('nsenter', [...this.#enter(), ...commands[name]], {
      detached: true,
      stdio: ['pipe', log, log],
      env: { PATH: engine.path, HOME: '/root' },
    })
    closeSync(log)
    detach(child)
    return child
  }

  #enter(): string[] {
    if (this.#initPid === null) throw new Error(`${this.name} is not running`)
    return ['--target', String(this.#initPid), '--net', '--pid', '--uts', '--mount']
  }

  #logFile(daemon: string): string {
    return `${this.directory}/${daemon}.log`
  }

  async #makeStateDisk(): Promise<void> {
    const disk = this.#options.stateDisk
    if (disk === undefined) return
    const image = `${this.directory}/state.img`
    await run('truncate', ['--size', String(disk.sizeBytes), image])
    await run(`mkfs.${disk.type}`, [disk.type === 'ext4' ? '-q' : '-f', image])
  }
}

/** Lets the owner end although this child still runs; the guard sees to the child. */
function detach(child: ChildProcess): void {
  child.unref()
  for (const stream of [child.stdout, child.stderr]) stream?.destroy()
  // A pipe counts as something to wait for, as long as it is open.
  if (child.stdin !== null) {
    child.stdin.on('error', () => {})
    ;(child.stdin as unknown as Socket).unref()
  }
}

function firstLine(child: ChildProcess, what: string): Promise<void> {
  let errors = ''
  child.stderr?.on('data', (data: Buffer) => {
    errors += data
  })
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', () => resolve())
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`${what} ended with code ${code}: ${errors}`)))
  })
}
