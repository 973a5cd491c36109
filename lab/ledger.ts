import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from './host.ts'
import { postgresPrograms } from './images.ts'
import type { Lab } from './lab.ts'

/** An answer that takes longer will not come: the server is being stopped or moved. */
const ANSWER_TIMEOUT_MS = 3_000
const BETWEEN_TRIES_MS = 100
/** Slow enough to leave the machine to what is measured, fast enough that every move interrupts it. */
const BETWEEN_ROWS_MS = 5
const POSTGRES_PORT = 5432

/** A record that was synced to disk before it was acknowledged, as whoever asked for it knows it. */
export interface Acknowledged {
  readonly number: number
  /** Name of the host that acknowledged it. */
  readonly host: string
  /** When the answer came, as Date.now() tells. */
  readonly atMs: number
}

/**
 * Runs one statement on a host's PostgreSQL from outside all hosts; returns what psql prints. Rejects when it fails.
 */
export async function query(lab: Lab, host: Host, statement: string, port = POSTGRES_PORT): Promise<string> {
  const { stdout } = await lab.exec([...client(host, port), '-c', statement])
  return stdout.trim()
}

/**
 * Inserts numbered rows into the table `ledger (n bigint primary key, host text)` of whichever host serves
 * PostgreSQL, one transaction each, and keeps outside which of them were acknowledged, by whom and when.
 */
export class Ledger implements AsyncDisposable {
  /** By number, in the order in which they were acknowledged. */
  readonly acknowledged = new Map<number, Acknowledged>()
  readonly #lab: Lab
  readonly #loops: Promise<unknown>
  #serving: Host | null = null
  #stopped = false
  #next = 1

  constructor(lab: Lab, hosts: readonly Host[]) {
    this.#lab = lab
    // Side by side: the tries at a host that is gone take seconds, and the others must not wait for them.
    this.#loops = Promise.all(hosts.map((host) => this.#run(host)))
  }

  /** Ends after the row that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#loops
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #run(host: Host): Promise<void> {
    while (!this.#stopped) {
      if (this.#serving === null) await this.#writeTo(host)
      await sleep(BETWEEN_TRIES_MS)
    }
  }

  /** Writes rows over one connection until it breaks. */
  async #writeTo(host: Host): Promise<void> {
    const child = this.#lab.spawn(client(host, POSTGRES_PORT))
    const { stdin, stdout } = child
    if (stdin === null || stdout === null) throw new Error('psql has no pipes')
    stdin.on('error', () => undefined)
    const ended = once(child, 'exit').then(() => null)
    const lines = createInterface(stdout)
    try {
      while (!this.#stopped) {
        const number = this.#next++
        const answer = once(lines, 'line').then(([line]) => Number(line))
        stdin.write(`insert into ledger values (${number}, '${host.name}') returning n;\n`)
        const late = sleep(ANSWER_TIMEOUT_MS, null, { ref: false })
        if ((await Promise.race([answer, ended, late])) !== number) return
        this.#serving ??= host
        this.acknowledged.set(number, { number, host: host.name, atMs: Date.now() })
        await sleep(BETWEEN_ROWS_MS)
      }
    } finally {
      if (this.#serving === host) this.#serving = null
      lines.close()
      child.kill('SIGKILL')
      await ended
    }
  }
}

function client(host: Host, port: number): string[] {
  const server = ['-h', host.address, '-p', String(port), '-U', 'postgres']
  return ['env', 'PGCONNECT_TIMEOUT=2', `${postgresPrograms()}/psql`, ...server, '-XAtq', '-v', 'ON_ERROR_STOP=1']
}
