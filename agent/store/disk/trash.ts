import { mkdir, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WherryError } from '../../model/errors.ts'
import { syncDirectory } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import { removeTree } from '../inode/removal.ts'
import { removedSuffix } from './removed-copies.ts'
import { readAges, type TrashAges, writeAges } from './trash-ages.ts'

/**
 * `<id>-<ms since 1970>`. The time is for operators and does not count: clocks may be wrong.
 * With ULIDs it was once written without leading zeros.
 */
const NAME = /^(?:.+-\d{13}|[0-9A-Z]{26}-\d+)$/
/** How often the ages are recorded: a reboot costs no more than that. */
const WRITE_EVERY_MS = 10 * 60_000

/** Moves a copy's directory into the trash; does nothing when it is not there. Durable on return. */
export async function moveToTrash(directory: string, id: string, trash: string, now: Date): Promise<void> {
  await mkdir(trash, { recursive: true, mode: 0o700 })
  try {
    await rename(directory, join(trash, `${id}${removedSuffix(now)}`))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  await syncDirectory(trash)
  await syncDirectory(dirname(directory))
}

/**
 * Deletes what has been in the trash for `retentionMs` of this host's uptime; returns the names.
 * Call it regularly: each call adds the time since the last one, by the time since boot (`elapsedMs`). The time a
 * host was off does not count. Entries with other names stay.
 */
export async function emptyTrash(trash: string, retentionMs: number, elapsedMs: number): Promise<string[]> {
  const names = (await readdir(trash)).filter((name) => NAME.test(name))
  const before = await readAges(trash)
  const ages = grown(before, names, elapsedMs)
  const deleted: string[] = []
  const failures: unknown[] = []
  for (const name of names) {
    if ((ages.get(name) ?? 0) < retentionMs) continue
    try {
      await removeTree(join(trash, name))
      deleted.push(name)
      ages.delete(name)
    } catch (error) {
      // An entry that cannot be deleted (an immutable file) must not keep the rest.
      failures.push(error)
    }
  }
  const isSame = names.length === before.ages.size && names.every((name) => before.ages.has(name))
  const isDue = before.sinceMs > 0 && elapsedMs - before.sinceMs < WRITE_EVERY_MS
  if (!(isSame && (isDue || names.length === 0))) await writeAges(trash, ages, elapsedMs)
  if (failures.length > 0) {
    const what = `${failures.length} removed volumes in ${trash} cannot be deleted: ${failures[0]}`
    throw new WherryError('SYSTEM_CALL_FAILED', what, { hint: 'Delete them by hand.', cause: failures[0] })
  }
  return deleted
}

/**
 * Returns until when each entry of the trash stays, in ISO 8601 by this host's present clock.
 * Entries age by uptime, as in `emptyTrash`: if the host is off meanwhile, they stay longer.
 */
export async function trashedUntil(
  trash: string,
  retentionMs: number,
  elapsedMs: number,
  now: Date,
): Promise<(name: string) => string> {
  const ages = await readAges(trash)
  return (name) => {
    const ageMs = grown(ages, [name], elapsedMs).get(name) ?? 0
    return new Date(now.getTime() + Math.max(0, retentionMs - ageMs)).toISOString()
  }
}

/** Returns the age of each entry by now. An entry that was never seen before has just come. */
function grown({ ages, sinceMs }: TrashAges, names: readonly string[], elapsedMs: number): Map<string, number> {
  const passedMs = Math.max(0, elapsedMs - sinceMs)
  return new Map(
    names.map((name) => {
      const age = ages.get(name)
      return [name, age === undefined ? 0 : age + passedMs]
    }),
  )
}
