import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const namesFile = z.record(z.string(), z.object({ name: z.string(), address: z.string() }))

/** A host as messages name it. */
export type HostName = z.infer<typeof namesFile>[string]

/** Names and addresses of all hosts that were heard of, by host id (`<state>/hosts.json`). */
export interface HostNames {
  get(id: string): HostName | undefined
  all(): Readonly<Record<string, HostName>>
  /** Takes in what a heartbeat says, and returns before it is written. The next change makes up for a failed write. */
  note(id: string, host: HostName): void
}

/**
 * Opens the names of the hosts. Until the registry replies after a boot, an agent has only these.
 * A missing or unreadable file is no loss: it is written again.
 */
export async function openHostNames(stateDir: string, log: Logger): Promise<HostNames> {
  const path = join(stateDir, 'hosts.json')
  const read = await readFile(path, 'utf8')
    .then((text) => namesFile.parse(JSON.parse(text)))
    .catch((): Record<string, HostName> => ({}))
  // Ids come from other hosts: none of them may name what all objects have.
  const known: Record<string, HostName> = Object.assign(Object.create(null), read)
  let writing: Promise<void> = Promise.resolve()
  const write = () => {
    writing = writing
      .then(() => writeDurably(path, [Buffer.from(`${JSON.stringify(known)}\n`)]))
      .catch((error: unknown) => log.debug({ err: error }, 'names of the hosts not noted'))
  }
  return {
    get: (id) => known[id],
    all: () => known,
    note(id, { name, address }) {
      const before = known[id]
      // An agent that has never heard of its engine calls itself by its address.
      const better = name === address ? (before?.name ?? name) : name
      if (before?.name === better && before.address === address) return
      known[id] = { name: better, address }
      write()
    },
  }
}
