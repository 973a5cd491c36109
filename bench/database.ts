import type { Host } from '../lab/host.ts'
import type { Lab } from '../lab/lab.ts'
import { until } from '../lab/poll.ts'

/** As many clients of pgbench as keep two cores busy. */
const CLIENTS = 4
const TIMEOUT_MS = 20 * 60_000
const START_TIMEOUT_MS = 120_000

export interface DatabaseOptions {
  readonly volume: string
  readonly port: number
  /** Of the lab's PostgreSQL. */
  readonly image: string
  /** Of `docker volume create`. */
  readonly volumeOptions: readonly string[]
}

/** A PostgreSQL in a container with a Wherry volume, on the host's own network. */
export class Database {
  readonly volume: string
  readonly host: Host
  readonly #lab: Lab
  readonly #port: number

  private constructor(lab: Lab, host: Host, { volume, port }: DatabaseOptions) {
    this.#lab = lab
    this.host = host
    this.volume = volume
    this.#port = port
  }

  /** Makes the volume and starts the server with its defaults; resolves when it responds. */
  static async start(lab: Lab, host: Host, options: DatabaseOptions): Promise<Database> {
    const { volume, port, image, volumeOptions } = options
    const database = new Database(lab, host, options)
    const chosen = volumeOptions.flatMap((option) => ['-o', option])
    await host.docker(['volume', 'create', '-d', 'wherry', ...chosen, volume])
    const mount = ['--network', 'host', '-v', `${volume}:/var/lib/postgresql/data`]
    await host.docker(['run', '-d', '--name', volume, ...mount, image, '-p', String(port)])
    await until(`${volume}: PostgreSQL answers`, () => database.psql('select 1'), { timeoutMs: START_TIMEOUT_MS })
    return database
  }

  /** Runs a statement from outside all hosts; returns what psql prints. */
  async psql(statement: string): Promise<string> {
    const { stdout } = await this.#client('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', statement])
    return stdout.trim()
  }

  /** Makes pgbench's tables: about 15 MB for each unit of `scale`. */
  async fill(scale: number): Promise<void> {
    await this.#client('pgbench', ['--quiet', '-i', '-s', String(scale), 'postgres'])
  }

  /** Runs pgbench's transactions as fast as they go; returns transactions per second. */
  async work(seconds: number): Promise<number> {
    const options = ['-n', '-c', String(CLIENTS), '-j', '2', '-T', String(seconds)]
    const { stdout } = await this.#client('pgbench', [...options, 'postgres'])
    const tps = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1])
    if (!(tps > 0)) throw new Error(`pgbench says no tps:\n${stdout}`)
    return tps
  }

  #client(program: string, args: readonly string[]) {
    const server = ['-h', this.host.address, '-p', String(this.#port), '-U', 'postgres']
    return this.#lab.exec([program, ...server, ...args], { timeoutMs: TIMEOUT_MS })
  }
}
