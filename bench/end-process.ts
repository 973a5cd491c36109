import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { run } from '../lab/command.ts'
import type { BenchGround, BenchHost } from './ground.ts'
import type { Order } from './order.ts'

const PROGRAM = fileURLToPath(new URL('end.ts', import.meta.url))
const CERTS_SCRIPT = fileURLToPath(new URL('../scripts/certs', import.meta.url))
/** Where both ends are asked by the other. */
export const PORT = 8440

interface Answer {
  readonly value?: unknown
  readonly error?: string
}

/** The driver's hold on one end's process. */
export class End {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #name: string
  #errors = ''

  private constructor(host: BenchHost, stateDir: string) {
    this.#name = host.name
    this.#child = host.spawn([process.execPath, PROGRAM, stateDir, host.address, String(PORT)])
    this.#child.stderr?.on('data', (data: Buffer) => {
      this.#errors += data
    })
    if (this.#child.stdout === null) throw new Error('spawned with pipes')
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
  }

  static async start(host: BenchHost, stateDir: string): Promise<End> {
    const end = new End(host, stateDir)
    await end.#answer()
    return end
  }

  async tell(order: Order): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`)
    const { value, error } = await this.#answer()
    if (error !== undefined) throw new Error(`Wherry on ${this.#name}, ${order.do}: ${error}\n${this.#errors}`)
    return value
  }

  async #answer(): Promise<Answer> {
    while (true) {
      const { value: line, done } = await this.#lines.next()
      if (done === true) throw new Error(`Wherry's end on ${this.#name} has died: ${this.#errors}`)
      const said = JSON.parse(line) as Answer | { level: number }
      // The mover's log has the same way out.
      if (!('level' in said)) return said
      this.#errors += `${line}\n`
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
  }
}

/** Starts Wherry on h1 and on h2, each with a new state directory of this name. */
export async function startEnds(name: string, { directory, h1, h2 }: BenchGround): Promise<[End, End]> {
  const certs = `${directory}/certs`
  await run(CERTS_SCRIPT, [certs, h1.address, h2.address])
  const start = async (host: BenchHost) => {
    const stateDir = `${host.directory}/state-${name}`
    mkdirSync(stateDir)
    await run('cp', ['-r', `${certs}/${host.address}`, `${stateDir}/tls`])
    return End.start(host, stateDir)
  }
  return await Promise.all([start(h1), start(h2)])
}
