import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { writeFields } from '../runtime/json-file.ts'

const engineFile = z.object({ name: z.string(), swarmNode: z.string().nullable(), zone: z.string().nullable() })

/**
 * Opens the last known facts about this host's engine and Swarm (`<state>/engine.json`).
 * A newly started agent has only these until the engine responds, which takes up to a minute after a boot.
 * A missing or unreadable file is no loss: it is written again.
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
      await writeFields(path, facts)
      known = facts
    },
  }
}

/** The last known facts about engine and Swarm, for the time until they respond again (`<state>/engine.json`). */
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
