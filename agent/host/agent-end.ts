import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const endFile = z.object({ at: z.string(), why: z.string() })

/** How the agent's last process ended, if that was a failure. */
export type AgentEnd = z.infer<typeof endFile>

/** Notes how the agent ended (`<state>/agent-end.json`), for commands that find it away. Null: as it was asked to. */
export async function noteAgentEnd(stateDir: string, end: AgentEnd | null): Promise<void> {
  if (end === null) await rm(pathOf(stateDir), { force: true })
  else await writeDurably(pathOf(stateDir), [Buffer.from(`${JSON.stringify(end)}\n`)])
}

/** Returns how the agent ended last. Null: as it was asked to, or nobody could note it. */
export async function readAgentEnd(stateDir: string): Promise<AgentEnd | null> {
  try {
    return endFile.parse(JSON.parse(await readFile(pathOf(stateDir), 'utf8')))
  } catch {
    return null
  }
}

function pathOf(stateDir: string): string {
  return join(stateDir, 'agent-end.json')
}
