import { mkdir, readdir, readFile, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { syncDirectory } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { RemovedCopy } from '../contract.ts'

/** Suffix of removed copies' directories: when they came there, in ms since 1970, up to the year 2286. */
const SINCE = /-\d{13}$/
const TIME_DIGITS = 13
const TIME_MAX = 10 ** TIME_DIGITS - 1
/** The fields of `volume.json` that identify the volume. */
const RECORD = z.object({ id: z.string(), name: z.string() })
/** A directory's name has at most 255 bytes: this leaves room for an id and a time. */
const LONGEST_NAME = 160

/** Returns the suffix for a time. A clock that was never set gives leading zeros. */
export function removedSuffix(now: Date): string {
  const ms = Math.min(Math.max(0, now.getTime()), TIME_MAX)
  return `-${String(ms).padStart(TIME_DIGITS, '0')}`
}

/**
 * Moves a copy's directory to where nothing deletes it.
 * Returns its name there, after the volume's name.
 * Durable on return.
 */
export async function moveAside(
  directory: string,
  { id, name }: { readonly id: string; readonly name: string },
  aside: string,
  now: Date,
): Promise<string> {
  const place = `${name.slice(0, LONGEST_NAME)}-${id}${removedSuffix(now)}`
  await mkdir(aside, { recursive: true, mode: 0o700 })
  await rename(directory, join(aside, place))
  await syncDirectory(aside)
  await syncDirectory(dirname(aside))
  await syncDirectory(dirname(directory))
  return place
}

/** The volumes of a directory's entries, by entry, as far as they were read. */
export type Named = Map<string, z.infer<typeof RECORD>>

/**
 * Lists the copies in the trash, or set aside (`until` null: until an operator deletes them).
 * No directory: none.
 * An entry without a readable `volume.json` is left out.
 * The caller keeps `named`, so each `volume.json` is read once: every scrape of the metrics lists them, and a trash
 * may have thousands.
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
