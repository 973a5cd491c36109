import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from './host.ts'
import type { Lab } from './lab.ts'

/** An answer that takes longer will not come: the server is being stopped or moved. */
const ANSWER_TIMEOUT_MS = 3_000
const BETWEEN_TRIES_MS = 50
/** Slow enough to leave the machine to what is measured, fast enough that every move interrupts it. */
const BETWEEN_ROWS_MS = 5

/** Runs one statement on a host's PostgreSQL from outside all hosts; answers what psql prints. Rejects when it fails. */
export async function query(lab: Lab, host: Host, statement: string): Promise<string> {
  const client = ['psql', '-h', host.address, '-U', 'postgres', '-XAtq', '-v', 'ON_ERROR_STOP=1']
  const { stdout } = await lab.exec(['env', 'PGCONNECT_TIMEOUT=2', ...client, '-c', statement])
  return stdout.trim()
}

/**
 * Inserts numbered rows into the table `ledger` of whichever host serves PostgreSQL, one transaction each, and keeps
 * outside which of them were acknowledged.
 */
export class Ledger implements AsyncDisposable {
  readonly acknowledged = new Set<number>()
  readonly #lab: Lab
  readonly #hosts: readonly Host[]
  readonly #loop: Promise<void>
  #stopped = false
  #next = 1

  constructor(lab: Lab, hosts: readonly Host[]) {
    this.#lab = lab
    this.#hosts = hosts
    this.#loop = this.#run()
  }

  /** Ends after the row that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#loop
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#stopped; turn++) {
      const host = this.#hosts[turn % this.#hosts.length]
      if (host !== undefined) await this.#writeTo(host)
      await sleep(BETWEEN_TRIES_MS)
    }
  }

  /** Writes rows over one connection until it breaks. */
  async #writeTo(host: Host): Promise<void> {
    const client = ['psql', '-h', host.address, '-U', 'postgres', '-XAtq', '-v', 'ON_ERROR_STOP=1']
    const child = this.#lab.spawn(['env', 'PGCONNECT_TIMEOUT=2', ...client])
    const { stdin, stdout } = child
    if (stdin === null || stdout === null) throw new Error('psql has no pipes')
    stdin.on('error', () => undefined)
    const ended = once(child, 'exit').then(() => null)
    const lines = createInterface(stdout)
    try {
      while (!this.#stopped) {
        const n = this.#next++
        const answer = once(lines, 'line').then(([line]) => Number(line))
        stdin.write(`insert into ledger values (${n}, '${host.name}') returning n;\n`)
        const late = sleep(ANSWER_TIMEOUT_MS, null, { ref: false })
        if ((await Promise.race([answer, ended, late])) !== n) return
        this.acknowledged.add(n)
        await sleep(BETWEEN_ROWS_MS)
      }
    } finally {
      lines.close()
      child.kill('SIGKILL')
      await ended
    }
  }
}
