import { mkdir, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WherryError } from '../../model/errors.ts'
import { syncDirectory } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import { removeTree } from '../inode/removal.ts'
import { endingAt } from './removed-copies.ts'
import { readAges, type TrashAges, writeAges } from './trash-ages.ts'

/**
 * `<id>-<ms since 1970>`. The time is for people: a clock that was set wrong then, or is now, must not count. Of ULIDs
 * it was written without leading zeros once.
 */
const NAME = /^(?:.+-\d{13}|[0-9A-Z]{26}-\d+)$/
/** So often what has passed is written down: a reboot costs no more than that. */
const WRITE_EVERY_MS = 10 * 60_000

/** Moves a copy's directory into the trash. Durable on return; nothing happens when it is not there. */
export async function moveToTrash(directory: string, id: string, trash: string, now: Date): Promise<void> {
  await mkdir(trash, { recursive: true, mode: 0o700 })
  try {
    await rename(directory, join(trash, `${id}${endingAt(now)}`))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  await syncDirectory(trash)
  await syncDirectory(dirname(directory))
}

/**
 * Deletes what has been in the trash for `retentionMs` of this host's uptime; answers the names. Call it from time to
 * time: each call adds what has passed since the last one, by the time since boot (`elapsedMs`), and nothing for the
 * time a host was off. What is named otherwise is not ours and stays.
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
      // One that cannot be deleted (an immutable file) must not keep the rest.
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
 * Until when what lies in the trash is not deleted, by its name there, in ISO 8601 as this host's clock is set now. It
 * ages by uptime, as `emptyTrash` has it: if the host is off meanwhile, it stays longer.
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

/** How long each has been there by now. What nobody has seen before has just come. */
function grown({ ages, sinceMs }: TrashAges, names: readonly string[], elapsedMs: number): Map<string, number> {
  const passedMs = Math.max(0, elapsedMs - sinceMs)
  return new Map(
    names.map((name) => {
      const age = ages.get(name)
      return [name, age === undefined ? 0 : age + passedMs]
    }),
  )
}
