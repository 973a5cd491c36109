import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { WherryError } from '../model/errors.ts'
import { writeFields } from '../runtime/json-file.ts'

const drainFile = z.object({ drain: z.boolean() })

/**
 * Reads whether this host's copies are to leave (`<state>/drain.json`; a missing file means no).
 * Rejects COPY_DAMAGED when the file cannot be parsed: a drained host must not collect copies again.
 */
export async function openDrainFlag(stateDir: string): Promise<DrainFlag> {
  const path = join(stateDir, 'drain.json')
  let on = await readWish(path)
  return {
    get: () => on,
    async set(wanted) {
      await writeFields(path, { drain: wanted })
      on = wanted
    },
  }
}

async function readWish(path: string): Promise<boolean> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (text === null) return false
  try {
    return drainFile.parse(JSON.parse(text)).drain
  } catch (cause) {
    throw new WherryError('COPY_DAMAGED', `${path}, which says whether this host is drained, cannot be understood.`, {
      hint: 'Write {"drain":true} or {"drain":false} into it.',
      cause,
    })
  }
}

/** The operator's decision to drain this host, which outlives the agent (`<state>/drain.json`). */
export interface DrainFlag {
  get(): boolean
  /** Durable on return; may be repeated. */
  set(on: boolean): Promise<void>
}
