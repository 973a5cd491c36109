import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { writeFields } from '../../runtime/json-file.ts'
import { bootId } from '../../sys/boot-id.ts'

const AGES = z.object({
  version: z.literal(1),
  /** The boot in which it was written. */
  boot: z.string(),
  elapsedMs: z.number(),
  /** How long each had been in the trash, by its name there. */
  ages: z.record(z.string(), z.number()),
})

/** How long removed volumes have been in the trash. */
export interface TrashAges {
  /** In milliseconds of uptime, by name. */
  readonly ages: ReadonlyMap<string, number>
  /** Time since boot up to which they count; 0: they are of an earlier boot. */
  readonly sinceMs: number
}

/** Reads the recorded ages. An unreadable record starts at zero again: nothing is deleted too soon. */
export async function readAges(trash: string): Promise<TrashAges> {
  try {
    const { boot, elapsedMs, ages } = AGES.parse(JSON.parse(await readFile(pathOf(trash), 'utf8')))
    return { ages: new Map(Object.entries(ages)), sinceMs: boot === (await bootId()) ? elapsedMs : 0 }
  } catch {
    return { ages: new Map(), sinceMs: 0 }
  }
}

/** Records the ages. Durable on return. */
export async function writeAges(trash: string, ages: ReadonlyMap<string, number>, elapsedMs: number): Promise<void> {
  const content = { version: 1, boot: await bootId(), elapsedMs: Math.round(elapsedMs), ages: Object.fromEntries(ages) }
  await writeFields(pathOf(trash), content)
}

/** Beside the trash, not in it: the trash holds removed volumes, and what operators have put there. */
function pathOf(trash: string): string {
  return `${trash}.json`
}
