import type { Host } from '../lab/host.ts'

/** A line of an agent's log; `time` in milliseconds since 1970. */
export interface AgentLine {
  readonly time: number
  readonly msg: string
  readonly [field: string]: unknown
}

/** The engine prints what a plugin prints, each line quoted as a message of its own. */
const MESSAGE = /msg="(\{(?:[^"\\]|\\.)*\})"/g

/** What this host's agent has logged with this message from `sinceMs` (since 1970) on, oldest first. */
export function agentLines(host: Host, msg: string, sinceMs: number): AgentLine[] {
  const lines: AgentLine[] = []
  for (const [, quoted = ''] of host.engineLog().matchAll(MESSAGE)) {
    // Most lines are others: checked before they are parsed.
    if (!quoted.includes(msg)) continue
    const line = parsed(quoted)
    if (line?.msg === msg && line.time >= sinceMs) lines.push(line)
  }
  return lines
}

function parsed(quoted: string): AgentLine | null {
  try {
    return JSON.parse(JSON.parse(`"${quoted}"`) as string) as AgentLine
  } catch {
    // Cut off by a kill.
    return null
  }
}
