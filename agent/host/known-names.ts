import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from 'pino'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const namesFile = z.array(z.string())

/**
 * Keeps the names of all volumes in `<state>/names.json`, for the time in which no agent responds.
 * The result takes all names, sorted, and returns before they are written. The next change makes up for a failed
 * write.
 */
export function keepNames(stateDir: string, log: Logger): (names: readonly string[]) => void {
  let wanted: readonly string[] | null = null
  let written: readonly string[] | null = null
  let isWriting = false
  const write = async () => {
    while (!isDeepStrictEqual(wanted, written)) {
      written = wanted
      await writeDurably(pathIn(stateDir), [Buffer.from(`${JSON.stringify(wanted)}\n`)])
    }
  }
  return (names) => {
    wanted = names
    if (isWriting) return
    isWriting = true
    write()
      .catch((error: unknown) => {
        written = null
        log.debug({ err: error }, 'could not note the names of the volumes')
      })
      .finally(() => {
        isWriting = false
      })
  }
}

/** Tells whether the registry had a volume of that name when it last responded. An unreadable file names none. */
export async function isKnownName(stateDir: string, name: string): Promise<boolean> {
  try {
    return namesFile.parse(JSON.parse(await readFile(pathIn(stateDir), 'utf8'))).includes(name)
  } catch {
    return false
  }
}

function pathIn(stateDir: string): string {
  return join(stateDir, 'names.json')
}
