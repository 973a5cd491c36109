import type { Logger } from 'pino'

/** Often enough to count time in small pieces. */
const LOOK_EVERY_MS = 100
/** Between two looks no more counts as silence: if more has passed, the machine slept, or this process stood still itself and has not read yet. */
const LONGEST_STEP_MS = 1_000
/** One lease until the watchdog acts, and two more in which the agent may come to itself. */
const LEASES = 3

/** Kills an agent that has spoken and then says nothing for three leases: its process lives, and it does not work. */
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

  /** A process began. Silence counts from its first word: a start may take long. */
  begin(kill: () => void): void {
    this.#kill = kill
    this.#spoken = false
  }

  heard(): void {
    this.#spoken = true
    this.#silentMs = 0
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
    this.#log.error({ silentMs: Math.round(this.#silentMs) }, 'the agent lives and says nothing; killing it')
    this.#kill()
    this.#kill = null
  }
}
