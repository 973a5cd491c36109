import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { WherryError } from '../model/errors.ts'
import type { ServerLog } from './server-log.ts'
import type { ServerOutput } from './server-output.ts'
import { parseVersion, type Version } from './version.ts'

/** nats-server hands over its leaderships and syncs before it ends. Docker waits 10 s for a plugin. */
const STOP_WAIT_MS = 7_000

/** Lines of a dying server's output that are logged: enough for the reason, short enough for one line. */
const LAST_LINES = 3

/** Limit of asking a program for its version. */
const VERSION_TIMEOUT_MS = 10_000

/** Asks the program for its version. NATS_SERVER_FAILED: it cannot be run. */
export async function serverVersion(binary: string): Promise<Version> {
  try {
    const { stdout } = await promisify(execFile)(binary, ['-v'], { timeout: VERSION_TIMEOUT_MS })
    const version = parseVersion(stdout)
    if (version !== null) return version
    throw new Error(`it printed "${stdout.trim()}" as its version`)
  } catch (cause) {
    throw new WherryError('NATS_SERVER_FAILED', `${binary} cannot be run: ${(cause as Error).message}.`, {
      hint: 'Install nats-server 2.10.23 or newer, or set WHERRY_NATS to a NATS of your own.',
      cause,
    })
  }
}

/** One running nats-server. Its `output` is logged, and it inherits the lock's descriptor. */
export class ServerProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #lastLines: string[] = []
  /** Resolves with one line that says how the process ended. Never rejects. */
  readonly ended: Promise<string>
  #running = true

  constructor(binary: string, configPath: string, lockFd: number, output: ServerOutput, log: ServerLog) {
    const child = spawn(binary, ['-c', configPath], { stdio: ['ignore', output.fd, output.fd, lockFd] })
    this.#child = child
    output.follow((line) => this.#take(line, log))
    this.ended = new Promise((resolve) => {
      const end = (how: string) => {
        this.#running = false
        void output[Symbol.asyncDispose]().then(() => resolve([how, ...this.#lastLines].join(' | ')))
      }
      child.once('error', (error) => end(error.message))
      child.once('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`))
    })
  }

  get pid(): number | undefined {
    return this.#running ? this.#child.pid : undefined
  }

  /** Makes the server reload its certificates. */
  reload(): void {
    if (this.#running) this.#child.kill('SIGHUP')
  }

  /** Ends the server with SIGTERM, later with SIGKILL. Returns once it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#running) return
    this.#child.kill('SIGTERM')
    const waited = new AbortController()
    await Promise.race([this.ended, sleep(STOP_WAIT_MS, undefined, { signal: waited.signal }).catch(() => {})])
    waited.abort()
    if (this.#running) this.#child.kill('SIGKILL')
    await this.ended
  }

  #take(line: string, log: ServerLog): void {
    const text = log.take(line)
    if (text === null) return
    this.#lastLines.push(text)
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift()
  }
}
