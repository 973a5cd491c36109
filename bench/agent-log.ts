import type { Host } from '../lab/host.ts'

/** A line of an agent's log; `time` in milliseconds since 1970. */
export interface AgentLine {
  readonly time: number
  readonly msg: string
  readonly [field: string]: unknown
}

/** The engine prints each line of a plugin as a message of its own. */
const LINE = /msg="wherry [A-Z]+ (\S+) agent: ([^"\n]*)"/g
const FIELD = / (\w+)=(?:'([^']*)'|(\S+))/g

/** What this host's agent has logged with this message from `sinceMs` (since 1970) on, oldest first. */
export function agentLines(host: Host, msg: string, sinceMs: number): AgentLine[] {
  const lines: AgentLine[] = []
  for (const [, at = '', text = ''] of host.engineLog().matchAll(LINE)) {
    if (text !== msg && !text.startsWith(`${msg} `)) continue
    const time = Date.parse(at)
    const fields = [...text.slice(msg.length).matchAll(FIELD)].map(([, name = '', quoted, plain]) => {
      const value = quoted ?? plain ?? ''
      return [name, /^\d+(\.\d+)?$/.test(value) ? Number(value) : value] as const
    })
    if (time >= sinceMs) lines.push({ ...Object.fromEntries(fields), time, msg })
  }
  return lines
}
