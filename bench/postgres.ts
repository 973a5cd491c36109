import { globSync } from 'node:fs'
import { run } from '../lab/command.ts'
import type { BenchHost } from './ground.ts'

/** The package's user: PostgreSQL refuses to run as root. */
const USER = 'postgres'
/** Clients of pgbench: as many as keep both cores busy. */
const CLIENTS = 4
const TIMEOUT_MS = 20 * 60_000

/**
 * A PostgreSQL data directory that is worked on in place and left with the server stopped. The server sees it at its
 * usual place, in a mount namespace of its own: the directories above the real one are closed to its user.
 */
export class PostgresData {
  readonly #directory: string
  readonly #host: BenchHost

  constructor(directory: string, host: BenchHost) {
    this.#directory = directory
    this.#host = host
  }

  /** The owner that the data directory must have. */
  static async owner(): Promise<{ uid: number; gid: number }> {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(async (which) => (await run('id', [which, USER])).stdout))
    return { uid: Number(uid), gid: Number(gid) }
  }

  /** Makes a cluster and fills it with pgbench's tables. */
  async create(pgbenchScale: number): Promise<void> {
    await this.#script('initdb --auth=trust --no-sync -D "$PGDATA"')
    await this.#serving(`pgbench --quiet -i -s ${pgbenchScale} postgres`)
  }

  /** Runs pgbench's transactions; the same seed asks for the same ones. */
  async work(transactions: number, seed: number): Promise<void> {
    const each = Math.max(1, Math.round(transactions / CLIENTS))
    await this.#serving(`pgbench -n -c ${CLIENTS} -j 2 -t ${each} --random-seed=${seed} postgres`)
  }

  /** fsync is off only to get to the state to measure sooner: what the files hold is the same. */
  #serving(command: string): Promise<void> {
    const options = '-c fsync=off -c listen_addresses= -c unix_socket_directories=/tmp'
    return this.#script(`pg_ctl -w -t 300 -l /tmp/log -o "${options}" start; ${command}; pg_ctl -w -t 300 -m fast stop`)
  }

  async #script(script: string): Promise<void> {
    const programs = globSync('/usr/lib/postgresql/*/bin').at(-1)
    if (programs === undefined) throw new Error('there is no /usr/lib/postgresql/*/bin: scripts/setup bench')
    const home = '/var/lib/postgresql'
    const own = `mount --bind "$0" ${home}; mount -t tmpfs -o mode=1777 tmpfs /tmp; cd ${home}`
    const user = `setpriv --reuid=${USER} --regid=${USER} --clear-groups`
    const env = { PGDATA: home, PGHOST: '/tmp', PGUSER: USER, PATH: `${programs}:${process.env.PATH}` }
    const inner = `${own}; exec ${user} bash -euc '${script}'`
    const command = ['unshare', '--mount', 'bash', '-euc', inner, this.#directory]
    await this.#host.exec(command, { env, timeoutMs: TIMEOUT_MS })
  }
}
