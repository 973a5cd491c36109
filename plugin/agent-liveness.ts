import type { Logger } from 'pino'

/** Often enough to count time in small pieces: half of the longest step. The shortest limit is 3 s. */
const LOOK_EVERY_MS = 500
/**
 * At most this counts as silence between two checks.
 * If more has passed, the machine slept, or this process was stopped itself and has not read yet.
 */
const LONGEST_STEP_MS = 1_000
/** One lease until the watchdog acts, and two more in which the agent may recover. */
const LEASES = 3

/** Kills an agent that has sent messages and then sends none for three leases: it runs, but does not work. */
export class AgentLiveness implements Disposable {
  readonly #limitMs: number
  readonly #log: Logger
  readonly #timer: NodeJS.Timeout
  #kill: (() => void) | null = null
  #spoken = false
  #silentMs = 0
  #lookedMs = performance.now()

  constructor(options: { leaseMs: number; log: Logger }) {
    this.#limitMs = LEASES * options.leaseMs
    this.#log = options.log
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS).unref()
  }

  /** A process started. Silence counts from its first message: a start may take long. */
  begin(kill: () => void): void {
    this.#kill = kill
    this.#spoken = false
  }

  heard(): void {
    this.#spoken = true
    this.#silentMs = 0
    this.#lookedMs = performance.now()
  }

  end(): void {
    this.#kill = null
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const nowMs = performance.now()
    this.#silentMs += Math.min(nowMs - this.#lookedMs, LONGEST_STEP_MS)
    this.#lookedMs = nowMs
    if (this.#kill === null || !this.#spoken || this.#silentMs < this.#limitMs) return
    this.#log.error({ silentMs: Math.round(this.#silentMs) }, 'agent runs and says nothing: killing it')
    this.#kill()
    this.#kill = null
  }
}
