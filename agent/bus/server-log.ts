import type { Logger } from 'pino'
import { Repeats } from '../runtime/repeats.ts'

type Level = 'debug' | 'warn' | 'error'

/** A route that was not tried for so long was made: a server tries a lost one every two seconds or so. */
const QUIET_MS = 20_000

/**
 * Warnings that say nothing new. The password is random, new at each start, and only root can read its file. All
 * clients do the handshake first. The agent asks for the health itself and reports what it means.
 * Snapshots of the log of decisions, and what a follower or an old leader does after an election, are daily work
 * (nats-server, server/jetstream_cluster.go and server/raft.go).
 */
const EXPECTED = [
  /^Plaintext passwords detected/,
  /^Clients that are not using "TLS Handshake First"/,
  /^Healthcheck failed:/,
  /^Waiting for routing to be established/,
  /^JetStream has not established contact with a meta leader/,
  /^Metalayer (?:(?:blocking|async) snapshot|snapshot generation) /,
  /^JetStream cluster metalayer log size has exceeded async threshold/,
  /^RAFT \[.*\] (?:Detected another leader with higher term|Draining and replaying snapshot)/,
  /^RAFT \[.*\] \d+ append entries pending/,
]

/** The line of a failed attempt (nats-server, server/route.go, connectToRoute), with the address that it dialled. */
const ROUTE_FAILED = /^Error trying to connect to (?:an explicit )?route(?: \S+)? ?\(attempt \d+\): (.*)$/
const DIALLED = /\bdial tcp (?:\S+->)?(\[[^\]]+\]|[^:\s]+):\d+/
const ROUTE_MADE = /^(\[[^\]]+\]|[^:\s]+):\d+ - rid:\d+ - Route connection created/

const LEVELS: Readonly<Record<string, Level>> = { INF: 'debug', WRN: 'warn', ERR: 'error', FTL: 'error' }

interface LostRoute {
  readonly sinceMs: number
  attempts: number
  /** Fires when it was not tried for a while. */
  timer: NodeJS.Timeout
}

/**
 * Logs what a nats-server prints. Its information is detail here.
 * It tries each lost route four times a second or so, for as long as the other host is away. That is one line when the
 * attempts begin and one when the route is made. Any other line that repeats is logged once in a while, with a count.
 */
export class ServerLog {
  readonly #log: Logger
  readonly #nowMs: () => number
  readonly #quietMs: number
  readonly #repeats: Repeats
  /** By address, without the port. */
  readonly #routes = new Map<string, LostRoute>()

  /** `nowMs` and `quietMs` are for tests. */
  constructor(log: Logger, nowMs: () => number = () => performance.now(), quietMs = QUIET_MS) {
    this.#log = log
    this.#nowMs = nowMs
    this.#quietMs = quietMs
    this.#repeats = new Repeats(nowMs)
  }

  /** Takes in one line. Returns its text if it may be why the server ends; null: it is not. */
  take(line: string): string | null {
    const { level, text } = parseServerLine(line)
    if (text === '' || this.#isRoute(text)) return null
    const again = level === 'debug' ? 0 : this.#repeats.note(text)
    const counted = again === null || again === 0 ? {} : { repeated: again }
    this.#log[again === null ? 'debug' : level]({ line: text, ...counted }, 'nats-server says')
    return level === 'debug' ? null : text
  }

  /** The server has ended: it tries no route any more. */
  ended(): void {
    for (const { timer } of this.#routes.values()) clearTimeout(timer)
    this.#routes.clear()
  }

  /** Whether the line is about a route to another server: those are summed up. */
  #isRoute(text: string): boolean {
    const failure = ROUTE_FAILED.exec(text)?.[1]
    if (failure !== undefined) {
      this.#failed(DIALLED.exec(failure)?.[1] ?? failure, failure)
      return true
    }
    const made = ROUTE_MADE.exec(text)?.[1]
    if (made !== undefined) this.#made(made)
    return made !== undefined
  }

  #made(server: string): void {
    const lost = this.#routes.get(server)
    if (lost === undefined) return
    clearTimeout(lost.timer)
    this.#routes.delete(server)
    const seconds = Math.round((this.#nowMs() - lost.sinceMs) / 1000)
    this.#log.info({ server, seconds, attempts: lost.attempts }, 'registry server reached again')
  }

  #failed(server: string, why: string): void {
    // The other host may have made the route, from an address that is not in the list.
    const timer = setTimeout(() => this.#made(server), this.#quietMs).unref()
    const lost = this.#routes.get(server)
    if (lost === undefined) {
      this.#routes.set(server, { sinceMs: this.#nowMs(), attempts: 1, timer })
      this.#log.info({ server, why }, 'registry server not reached: tried again until it is back')
      return
    }
    clearTimeout(lost.timer)
    lost.timer = timer
    lost.attempts += 1
  }
}

/**
 * Parses one line of nats-server's output. Its information is detail here.
 * Lines without a level are complaints about its configuration.
 */
export function parseServerLine(line: string): { level: Level; text: string } {
  const match = /^\[\d+\] (?:\S+ \S+ )?\[([A-Z]{3})\] ?(.*)$/.exec(line)
  if (match === null) return { level: 'error', text: line.trim() }
  const text = (match[2] ?? '').trim()
  if (EXPECTED.some((expected) => expected.test(text))) return { level: 'debug', text }
  return { level: LEVELS[match[1] ?? ''] ?? 'debug', text }
}
