import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UNFINISHED } from '../runtime/durable-file.ts'
import { bootId } from '../sys/boot-id.ts'

const FROZEN = z.object({ boot: z.string(), containers: z.array(z.string()) })

/**
 * Notes of the containers that are frozen for checkpoints, or about to be, for the plugin's next process.
 * Only the plugin's process writes them.
 * Each freeze has its own note: that of a container that could not be thawed outlives the freezes after it.
 */
export interface FrozenNotes {
  /** Returns the containers of all notes of this boot. */
  read(): Promise<readonly string[]>
  /** Replaces the note of one freeze, or removes it when it is empty. On return the next process will see it. */
  write(freeze: string, containers: readonly string[]): Promise<void>
}

/**
 * Opens the notes in `<state>/frozen.json`. Calls run in order.
 * The file is replaced by rename and not synced: no freeze outlives the kernel.
 */
export async function openFrozenNotes(stateDir: string): Promise<FrozenNotes> {
  const path = join(stateDir, 'frozen.json')
  const boot = await bootId()
  const noted = new Map<string, readonly string[]>()
  let last: Promise<unknown> = Promise.resolve()
  const inOrder = <T>(work: () => Promise<T>): Promise<T> => {
    const done = last.then(work, work)
    last = done
    return done
  }
  return {
    read: () =>
      inOrder(async () => {
        const found = FROZEN.safeParse(parse(await readFile(path, 'utf8').catch(() => ''))).data
        return found?.boot === boot ? found.containers : []
      }),
    write: (freeze, named) =>
      inOrder(async () => {
        noted.set(freeze, named)
        if (named.length === 0) noted.delete(freeze)
        const containers = [...new Set([...noted.values()].flat())]
        if (containers.length === 0) return await rm(path, { force: true })
        await writeFile(`${path}${UNFINISHED}`, JSON.stringify({ boot, containers }), { mode: 0o600 })
        await rename(`${path}${UNFINISHED}`, path)
      }),
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
