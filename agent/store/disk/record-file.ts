import { lstat, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { codeOf, WherryError } from '../../model/errors.ts'
import { requireReadable } from '../../model/format.ts'
import { writeDurably } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { DivergedTree, LocalCopy } from '../contract.ts'
import { localCopyFields, storedCheckpoint } from './copy-schema.ts'
import type { Layout } from './layout.ts'

const VERSION = 1

const RECORD = z.looseObject({
  ...localCopyFields,
  version: z.literal(VERSION),
  checkpoint: storedCheckpoint.nullable(),
})

/**
 * Reads `volume.json`; null when there is none. COPY_DAMAGED: it cannot be understood. VERSION_SKEW: a newer
 * version wrote it.
 * Diverged trees that an operator has removed are left out.
 */
export async function readCopyRecord(layout: Layout): Promise<LocalCopy | null> {
  let text: string
  try {
    text = await readFile(layout.record, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  }
  const copy = parseRecord(layout, text)
  return copy.diverged.length === 0 ? copy : { ...copy, diverged: await stillThere(layout, copy.diverged) }
}

function parseRecord(layout: Layout, text: string): LocalCopy {
  try {
    const value: unknown = JSON.parse(text)
    requireReadable(value, layout.record)
    const { version: _, ...copy } = RECORD.parse(value)
    if (copy.id !== layout.id) throw new Error(`it describes volume ${copy.id}`)
    return copy
  } catch (error) {
    if (codeOf(error) === 'VERSION_SKEW') throw error
    const reason = error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', '; ') : String(error)
    throw new WherryError('COPY_DAMAGED', `${layout.record} cannot be understood: ${reason}.`, {
      hint:
        'The data beside it is untouched. Restore the file, ' +
        'or move the directory away: the copy is then made again.',
      cause: error,
    })
  }
}

/** A tree is moved to its place before the record names it: one that is not there was removed. */
async function stillThere(layout: Layout, trees: readonly DivergedTree[]): Promise<DivergedTree[]> {
  const found: DivergedTree[] = []
  for (const tree of trees) {
    const gone = await lstat(join(layout.diverged, tree.name)).then(
      () => false,
      (error: unknown) => errnoOf(error) === 'ENOENT',
    )
    if (!gone) found.push(tree)
  }
  return found
}

/** Returns the volume's name from a `volume.json` in whatever format; undefined: it cannot be read. */
export async function readName(layout: Layout): Promise<string | undefined> {
  const value: unknown = await readFile(layout.record, 'utf8')
    .then(JSON.parse)
    .catch(() => null)
  return z.object({ name: z.string() }).safeParse(value).data?.name
}

/** Writes `volume.json`; durable on return. */
export async function writeCopyRecord(layout: Layout, copy: LocalCopy): Promise<void> {
  const text = JSON.stringify(RECORD.parse({ version: VERSION, ...copy }), null, 2)
  await mkdir(layout.directory, { recursive: true, mode: 0o700 })
  await writeDurably(layout.record, [Buffer.from(`${text}\n`)])
}

/** Reads `volume.json` as `readCopyRecord`. NOT_AT_CHECKPOINT: there is none. */
export async function requireCopyRecord(layout: Layout): Promise<LocalCopy> {
  const copy = await readCopyRecord(layout)
  if (copy !== null) return copy
  throw new WherryError('NOT_AT_CHECKPOINT', `This host has no copy of volume ${layout.id}.`, {
    hint: 'Copy it from a host that has it.',
  })
}
