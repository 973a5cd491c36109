import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const engineFile = z.object({ name: z.string(), swarmNode: z.string().nullable(), zone: z.string().nullable() })

/**
 * Reads what this host's engine and Swarm last said of themselves (`<state>/engine.json`). An agent that was just
 * started has only that until the engine answers, which after a boot takes up to a minute. A file that is missing or
 * cannot be understood is no loss: it is written anew.
 */
export async function openEngineFacts(stateDir: string): Promise<EngineFacts> {
  const path = join(stateDir, 'engine.json')
  let known = await readFile(path, 'utf8')
    .then(
      (text) => engineFile.parse(JSON.parse(text)),
      () => null,
    )
    .catch(() => null)
  return {
    get: () => known,
    async set(facts) {
      await writeDurably(path, [Buffer.from(`${JSON.stringify(facts)}\n`)])
      known = facts
    },
  }
}

/** What the engine and Swarm last said of this host, for the time until they do again (`<state>/engine.json`). */
export interface EngineFacts {
  get(): EngineFact | null
  /** Durable on return; may be repeated. */
  set(facts: EngineFact): Promise<void>
}

export interface EngineFact {
  readonly name: string
  readonly swarmNode: string | null
  readonly zone: string | null
}
