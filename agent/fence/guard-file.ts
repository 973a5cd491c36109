import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { z } from 'zod'
import { UNFINISHED } from '../runtime/durable-file.ts'
import { bootId } from '../sys/boot-id.ts'
import type { Guard } from './contract.ts'
import { guardSchema } from './watchdog-messages.ts'

/** Renewals come every second or faster. The file is needed only when the plugin's process itself is killed. */
const WRITE_EVERY_MS = 500

const KEPT = z.object({ boot: z.string(), guard: guardSchema })

/** The agent's last guard, kept in `<state>/guard.json` for the plugin's next process. */
export interface GuardFile extends AsyncDisposable {
  /** Returns what was kept during this boot; null: nothing. Times of another boot mean nothing. */
  last(): Promise<Guard | null>
  /** Writes a guard soon. Never waits and never fails. */
  keep(guard: Guard): void
}

/** Opens the file. It is replaced by rename and not synced: a guard is void after a crash of the kernel. */
export async function openGuardFile(options: { stateDir: string; log: Logger }): Promise<GuardFile> {
  const path = join(options.stateDir, 'guard.json')
  const boot = await bootId()
  const stop = new AbortController()
  let hurry = new AbortController()
  let next: Guard | null = null
  let kept: ReadonlySet<string> = new Set()
  let writing = Promise.resolve()
  let idle = true
  let complained = false
  /** The file says that nothing is guarded. Until when the lease runs does not matter then. */
  let isEmpty = false

  const write = async () => {
    while (next !== null) {
      const text = JSON.stringify({ boot, guard: next })
      kept = new Set(next.volumes.map(({ id }) => id))
      isEmpty = false
      next = null
      hurry = new AbortController()
      try {
        await writeFile(`${path}${UNFINISHED}`, text, { mode: 0o600 })
        await rename(`${path}${UNFINISHED}`, path)
        complained = false
        isEmpty = kept.size === 0
      } catch (error) {
        const level = complained ? 'debug' : 'warn'
        complained = true
        options.log[level](
          { err: error, path },
          'guard file not written: the next plugin process will not know the lease',
        )
      }
      const signal = AbortSignal.any([stop.signal, hurry.signal])
      await sleep(WRITE_EVERY_MS, undefined, { signal }).catch(() => undefined)
    }
    idle = true
  }
  return {
    async last() {
      const text = await readFile(path, 'utf8').catch(() => '')
      const kept = KEPT.safeParse(parse(text)).data
      return kept?.boot === boot ? kept.guard : null
    },
    keep(guard) {
      if (isEmpty && next === null && guard.volumes.length === 0) return
      next = guard
      // A new volume is written at once: if the plugin were killed before, no process would fence it.
      if (guard.volumes.some(({ id }) => !kept.has(id))) hurry.abort()
      if (idle) {
        idle = false
        writing = write()
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await writing
    },
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
