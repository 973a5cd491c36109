import { access, readFile } from 'node:fs/promises'
import { z } from 'zod'
import { codeOf, WherryError } from '../../model/errors.ts'
import { requireReadable } from '../../model/format.ts'
import type { Checkpoint } from '../../model/model.ts'
import { removeDurably, writeDurably } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import { storedCheckpoint } from '../disk/copy-schema.ts'
import type { Layout } from '../disk/layout.ts'

const JOURNAL = z.looseObject({ version: z.literal(1), checkpoint: storedCheckpoint })

/**
 * Writes COMMIT: from now on the staged tree is the copy's next state, whatever happens.
 * Durable on return.
 */
export async function commit(layout: Layout, checkpoint: Checkpoint): Promise<void> {
  await writeDurably(layout.journal, [Buffer.from(`${JSON.stringify({ version: 1, checkpoint })}\n`)])
}

/** Returns the checkpoint of COMMIT; null: there is none. COPY_DAMAGED, VERSION_SKEW: it cannot be read. */
export async function committed(layout: Layout): Promise<Checkpoint | null> {
  let text: string
  try {
    text = await readFile(layout.journal, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  try {
    const value: unknown = JSON.parse(text)
    requireReadable(value, layout.journal)
    return JOURNAL.parse(value).checkpoint
  } catch (error) {
    if (codeOf(error) === 'VERSION_SKEW') throw error
    throw new WherryError('COPY_DAMAGED', `The journal ${layout.journal} cannot be understood.`, {
      hint: 'The tree may be mixed; let the copy be filled again.',
      cause: error,
    })
  }
}

/** Whether there is a COMMIT, readable or not. */
export async function hasCommit(layout: Layout): Promise<boolean> {
  try {
    await access(layout.journal)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Removes COMMIT. Durable on return. */
export async function dropCommit(layout: Layout): Promise<void> {
  await removeDurably(layout.journal)
}
