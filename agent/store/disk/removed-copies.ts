import { mkdir, readdir, readFile, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { syncDirectory } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { RemovedCopy } from '../contract.ts'

/** Directories of removed copies end with when they came there, in ms since 1970: up to the year 2286. */
const SINCE = /-\d{13}$/
const TIME_DIGITS = 13
const TIME_MAX = 10 ** TIME_DIGITS - 1
/** What of `volume.json` tells which volume it was. */
const RECORD = z.object({ id: z.string(), name: z.string() })
/** A directory's name has at most 255 bytes: room for an id and a time is left. */
const LONGEST_NAME = 160

/** The end of such a name, whatever the clock shows; one of a clock that was never set has leading zeros. */
export function endingAt(now: Date): string {
  const ms = Math.min(Math.max(0, now.getTime()), TIME_MAX)
  return `-${String(ms).padStart(TIME_DIGITS, '0')}`
}

/**
 * Moves a copy's directory to where nothing deletes it, named after its volume. Answers its name there.
 * Durable on return.
 */
export async function moveAside(
  directory: string,
  { id, name }: { readonly id: string; readonly name: string },
  aside: string,
  now: Date,
): Promise<string> {
  const place = `${name.slice(0, LONGEST_NAME)}-${id}${endingAt(now)}`
  await mkdir(aside, { recursive: true, mode: 0o700 })
  await rename(directory, join(aside, place))
  await syncDirectory(aside)
  await syncDirectory(dirname(aside))
  await syncDirectory(dirname(directory))
  return place
}

/** Which volumes were what lies in a directory, by its name there, as far as it was read. */
export type Named = Map<string, z.infer<typeof RECORD>>

/**
 * Reads which copies lie in the trash, or were set aside (`until` null: until an operator deletes them). An entry
 * without a readable `volume.json` is passed over. No directory: none. `named` is kept by the caller: each
 * `volume.json` is read once, because every scrape of the metrics lists them, and a trash may have thousands.
 */
export async function removedCopies(
  directory: string,
  until: ((entry: string) => string) | null,
  named: Named,
): Promise<RemovedCopy[]> {
  const found: RemovedCopy[] = []
  const entries = new Set(await readdir(directory).catch(noneIfMissing))
  for (const entry of named.keys()) if (!entries.has(entry)) named.delete(entry)
  for (const entry of entries) {
    if (!SINCE.test(entry)) continue
    const known = named.get(entry) ?? RECORD.safeParse(await readJson(join(directory, entry, 'volume.json'))).data
    if (known === undefined) continue
    named.set(entry, known)
    found.push({ ...known, directory: join(basename(directory), entry), until: until?.(entry) ?? null })
  }
  return found
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch {
    return null
  }
}

function noneIfMissing(error: unknown): string[] {
  if (errnoOf(error) === 'ENOENT') return []
  throw error
}
