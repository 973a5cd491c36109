import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Repeats } from '../runtime/repeats.ts'
import { restartLoop } from '../runtime/restart-loop.ts'
import { freePort } from './free-port.ts'
import { renderServerConfig, type ServerConfig } from './server-config.ts'
import { ServerLog } from './server-log.ts'
import { ServerOutput } from './server-output.ts'
import { ServerProcess } from './server-process.ts'

/** A server that cannot start (port taken, disk full) is tried at least every 10 s: the cause may pass. */
const WAITS = { firstMs: 250, lastMs: 10_000, steadyMs: 30_000 }

/** Attempts of one request. A dying server's connections break one by one before its port is closed. */
const MONITOR_TRIES = 5
const MONITOR_AGAIN_MS = 20

/** A server whose port is taken, or whose store is broken, ends well before. */
const PROVEN_AFTER_MS = 3_000

/** How long /healthz may take. It replies from memory. */
const HEALTH_TIMEOUT_MS = 2_000

/** The state of this host's nats-server. */
export interface ServerState {
  readonly running: boolean
  readonly pid: number | null
  /** One line for the operator. */
  readonly detail: string
  /** Why the last server ended, until the next one has run for a while; null: nothing is wrong. */
  readonly trouble: string | null
}

export interface SupervisorOptions {
  readonly binary: string
  readonly configPath: string
  /** All but the monitoring port, which is chosen at each start. */
  readonly config: Omit<ServerConfig, 'monitorPort'>
  readonly lockFd: number
  readonly log: Logger
}

/** Keeps one nats-server running: starts it, watches it, and restarts it when it dies. */
export class Supervisor implements AsyncDisposable {
  readonly #options: SupervisorOptions
  readonly #stop = new AbortController()
  readonly #loop: Promise<void>
  readonly #serverLog: ServerLog
  readonly #ends = new Repeats()
  #process: ServerProcess | null = null
  #monitorPort = 0
  #detail = 'starting'
  #lastEnd: string | null = null
  /** The last end said nothing new: the next start is logged once it has lasted. */
  #isQuiet = false
  #startedMs = 0

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.#serverLog = new ServerLog(options.log)
    this.#loop = this.#run()
  }

  state(): ServerState {
    const pid = this.#process?.pid ?? null
    const isProven = pid !== null && performance.now() - this.#startedMs >= PROVEN_AFTER_MS
    return { running: pid !== null, pid, detail: this.#detail, trouble: isProven ? null : this.#lastEnd }
  }

  /**
   * Asks the server's monitoring port, which opens before JetStream starts, for JSON.
   * Undefined: the server does not run, or has not opened the port. Rejects: no reply within `timeoutMs`.
   */
  async monitor(path: string, timeoutMs: number): Promise<unknown> {
    const signal = AbortSignal.timeout(timeoutMs)
    for (let tries = 1; ; tries++) {
      if (this.#process?.pid === undefined) return undefined
      try {
        const response = await fetch(`http://127.0.0.1:${this.#monitorPort}${path}`, { signal })
        if (!response.ok) throw new Error(`it replied ${response.status}`)
        return await response.json()
      } catch (error) {
        const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
        if (code === 'ECONNREFUSED') return undefined
        if (tries === MONITOR_TRIES || signal.aborted) throw error
        await sleep(MONITOR_AGAIN_MS)
      }
    }
  }

  /** Asks the server for its health. Null: it is healthy; else one line that says why not. */
  async problem(): Promise<string | null> {
    if (this.#process?.pid === undefined) return `not running: ${this.#detail}`
    try {
      const response = await fetch(`http://127.0.0.1:${this.#monitorPort}/healthz`, {
        signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
      })
      if (response.ok) return null
      const body = (await response.json()) as { error?: string }
      return body.error ?? `healthz replied ${response.status}`
    } catch (error) {
      return `healthz did not reply: ${(error as Error).message}`
    }
  }

  /** Makes the server reload its certificates. */
  reload(): void {
    this.#process?.reload()
  }

  /** Stops the server and returns when it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#process?.[Symbol.asyncDispose]()
    await this.#loop
  }

  async #run(): Promise<void> {
    const run = async () => {
      this.#detail = await this.#runOnce().catch((error: Error) => error.message)
      this.#lastEnd = this.#detail
      this.#serverLog.ended()
      return true
    }
    const ended = (waitMs: number) => {
      const repeated = this.#ends.note(this.#detail)
      this.#isQuiet = repeated === null
      const fields = { why: this.#detail, waitMs, ...(repeated === null || repeated === 0 ? {} : { repeated }) }
      this.#options.log[repeated === null ? 'debug' : 'error'](fields, 'nats-server ended: restarting it')
    }
    await restartLoop({ run, ended, waits: WAITS, signal: this.#stop.signal })
    this.#detail = 'stopped'
  }

  /** Resolves with how the server ended. */
  async #runOnce(): Promise<string> {
    const { binary, config, configPath, lockFd, log } = this.#options
    this.#monitorPort = await freePort()
    await writeFile(configPath, renderServerConfig({ ...config, monitorPort: this.#monitorPort }), { mode: 0o600 })
    const output = await ServerOutput.open(configPath.replace(/\.conf$/, '.log'))
    if (this.#stop.signal.aborted) {
      await output[Symbol.asyncDispose]()
      return 'stopped'
    }
    this.#process = new ServerProcess(binary, configPath, lockFd, output, this.#serverLog)
    this.#detail = 'running'
    this.#startedMs = performance.now()
    const { pid } = this.#process
    const timer = setTimeout(() => log.info({ pid }, 'nats-server started'), this.#isQuiet ? PROVEN_AFTER_MS : 0)
    return await this.#process.ended.finally(() => clearTimeout(timer))
  }
}
