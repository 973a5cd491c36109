import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import { type AgentEnd, noteAgentEnd } from '../agent/host/agent-end.ts'
import { Repeats } from '../agent/runtime/repeats.ts'

/** How the agent's own reason begins: it prints that as its last line, and ends. */
const REASON = /^wherry: /
/** Node's report of a crash is long, and begins with what matters. */
const LINES_KEPT = 3

/** How a process of the agent ended. */
export interface AgentExit {
  readonly code: number | null
  readonly killedBy?: string
  readonly err?: Error
}

/** Keeps what the agent said last, for calls that find it away. Logs each new reason once. */
export class LastWords {
  readonly #stateDir: string
  readonly #log: Logger
  readonly #repeats = new Repeats()
  #end: AgentEnd | null = null

  constructor(stateDir: string, log: Logger) {
    this.#stateDir = stateDir
    this.#log = log
  }

  /** How the agent's last process ended. Null: as it was asked to, or it has not ended yet. */
  get end(): AgentEnd | null {
    return this.#end
  }

  /** Forgets earlier ends: a plugin starts, or ends as it was asked to. */
  async forget(): Promise<void> {
    await this.#keep(null)
  }

  /** Reads the standard error of one process until its end. Returns its reason, or its first lines. */
  async listen(stream: Readable): Promise<string> {
    const lines: string[] = []
    let reason = ''
    for await (const line of createInterface({ input: stream })) {
      if (REASON.test(line)) reason = line.replace(REASON, '')
      else if (line.trim() !== '') this.#log.warn({ line }, 'agent wrote to standard error')
      if (line.trim() !== '' && lines.length < LINES_KEPT) lines.push(line.trim())
    }
    return reason === '' ? lines.join(' | ') : reason
  }

  /** Notes the end of one process. The note on the disk may fail: this process has it all the same. */
  async note({ code, killedBy, err }: AgentExit, words: string, againInMs: number): Promise<void> {
    const how = err?.message ?? (killedBy === undefined ? `exit code ${code}` : `killed by ${killedBy}`)
    const why = words === '' ? `${how}.` : words
    const repeated = this.#repeats.note(`${how} ${why}`)
    const counted = repeated === null || repeated === 0 ? {} : { repeated }
    const event = { how, againInMs, ...(words === '' ? {} : { why }), ...counted }
    this.#log[repeated === null ? 'debug' : 'error'](event, 'agent ended: restarting it')
    await this.#keep(code === 0 ? null : { at: new Date().toISOString(), why })
  }

  async #keep(end: AgentEnd | null): Promise<void> {
    this.#end = end
    await noteAgentEnd(this.#stateDir, end).catch((error: unknown) => {
      this.#log.debug({ err: error }, 'end of the agent not noted')
    })
  }
}
