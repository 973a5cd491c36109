import type { VolumeView } from '../agent/api/contract.ts'
import type { Host } from '../lab/host.ts'
import type { Lab } from '../lab/lab.ts'
import { query } from '../lab/ledger.ts'
import { until } from '../lab/poll.ts'
import { changeSwarm } from '../lab/swarm.ts'
import { volumeAt } from './agent.ts'

const DATA = '/var/lib/postgresql/data'
const FILE_MIB = 256
const MIB_PER_GB = 1e9 / 2 ** 20
/** Reading, sending and writing 10 GB on a busy machine. */
const DATA_TIMEOUT_MS = 20 * 60_000
const SERVE_TIMEOUT_MS = 180_000
/** Finer than what is measured. */
const LOOK_MS = 20

/** A PostgreSQL service of the lab's Swarm with a Wherry volume, which has random files beside the database. */
export class Service {
  readonly name: string
  readonly #lab: Lab
  readonly #manager: Host
  readonly #workers: readonly Host[]

  /** `manager` takes no tasks: the service runs on one of the two workers. */
  constructor(lab: Lab, name: string, manager: Host) {
    this.#lab = lab
    this.name = name
    this.#manager = manager
    this.#workers = lab.hosts.filter((host) => host !== manager)
  }

  /** Creates the service with its volume; returns the host it runs on. */
  async start(image: string): Promise<Host> {
    const mount = `type=volume,source=${this.name},destination=${DATA},volume-driver=wherry`
    const options = ['--name', this.name, '--network', 'host', '--mount', mount, '--detach', '--no-resolve-image']
    await changeSwarm(this.#manager, ['service', 'create', ...options, image])
    return await this.#serving(this.#workers)
  }

  /** Writes random files of so many GB into the volume. */
  async fill(host: Host, gigabytes: number): Promise<void> {
    const container = await this.container(host)
    const files = Math.max(1, Math.round((gigabytes * MIB_PER_GB) / FILE_MIB))
    const mebibytes = Math.round((gigabytes * MIB_PER_GB) / files)
    const write = `dd if=/dev/urandom of=${DATA}/ballast/$n bs=1M count=${mebibytes}`
    const script = `mkdir ${DATA}/ballast; for n in $(seq ${files}); do ${write} || exit 1; done`
    await host.docker(['exec', container, 'sh', '-c', script], { timeoutMs: DATA_TIMEOUT_MS })
  }

  async container(host: Host): Promise<string> {
    const { stdout } = await host.docker(['ps', '-q', '--filter', `name=${this.name}`])
    return stdout.trim()
  }

  /** The one of these hosts whose PostgreSQL answers. */
  #serving(hosts: readonly Host[]): Promise<Host> {
    const answering = (host: Host) => query(this.#lab, host, 'select 1').then(() => host)
    return until(`${this.name}: PostgreSQL answers`, () => Promise.any(hosts.map(answering)), {
      timeoutMs: SERVE_TIMEOUT_MS,
      everyMs: LOOK_MS,
    })
  }

  /** When Swarm made the task that runs now, in milliseconds since 1970. */
  async placedMs(): Promise<number> {
    const { stdout: task } = await this.#manager.docker([
      'service',
      'ps',
      '-q',
      '--filter',
      'desired-state=running',
      this.name,
    ])
    const { stdout } = await this.#manager.docker([
      'inspect',
      '--type',
      'task',
      '-f',
      '{{json .CreatedAt}}',
      task.trim(),
    ])
    return Date.parse(JSON.parse(stdout) as string)
  }

  /**
   * Resolves when what the holder had when this was called is on the other worker's disk, and the holder is not busy
   * with more.
   */
  async copied(holder: Host): Promise<void> {
    const other = this.other(holder)
    const sinceMs = Date.now()
    const isThere = ({ copies, checkpointing }: VolumeView) => {
      if (checkpointing === null || checkpointing.state === 'running' || checkpointing.ageSeconds === null) return false
      const isCurrent = copies.some(({ host, state }) => host === other.name && state === 'current')
      return isCurrent && Date.now() - checkpointing.ageSeconds * 1000 > sinceMs
    }
    await until(`${this.name}: a copy on ${other.name}`, async () => isThere(await volumeAt(holder, this.name)), {
      timeoutMs: DATA_TIMEOUT_MS,
      everyMs: 250,
    })
  }

  other(host: Host): Host {
    const other = this.#workers.find((worker) => worker !== host)
    if (other === undefined) throw new Error('the lab has no other worker')
    return other
  }

  /** Removes the service and its volume. */
  async remove(): Promise<void> {
    await changeSwarm(this.#manager, ['service', 'rm', this.name])
    const gone = async () =>
      (await this.#manager.docker(['volume', 'rm', this.name], { allowFailure: true })).code === 0
    await until(`${this.name}: the volume is removed`, gone, { timeoutMs: SERVE_TIMEOUT_MS })
  }
}
