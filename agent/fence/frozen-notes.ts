import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UNFINISHED } from '../durable.ts'
import { bootId } from '../sys/boot-id.ts'

const FROZEN = z.object({ boot: z.string(), containers: z.array(z.string()) })

/** Which containers are frozen for a checkpoint, or about to be, for the plugin's next process. Kept by the plugin's process alone. */
export interface FrozenNotes {
  /** Of this boot. */
  read(): Promise<readonly string[]>
  /** Replaces what was noted. The next process sees it on return. */
  write(containers: readonly string[]): Promise<void>
  /** Nothing is frozen. */
  clear(): Promise<void>
}

/** `<state>/frozen.json`, replaced by rename and not synced: no freeze outlives the kernel. Calls are carried out in order. */
export async function openFrozenNotes(stateDir: string): Promise<FrozenNotes> {
  const path = join(stateDir, 'frozen.json')
  const boot = await bootId()
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
    write: (containers) =>
      inOrder(async () => {
        await writeFile(`${path}${UNFINISHED}`, JSON.stringify({ boot, containers }), { mode: 0o600 })
        await rename(`${path}${UNFINISHED}`, path)
      }),
    clear: () => inOrder(() => rm(path, { force: true })),
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
