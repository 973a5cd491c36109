import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { WherryError } from '../model/errors.ts'
import { writeDurably } from '../runtime/durable-file.ts'

const hostFile = z.object({ hostId: z.string().min(1) })

/**
 * Returns this host's id: made once, kept in `<state>/host.json`, durable on return.
 * Rejects COPY_DAMAGED for a file that cannot be parsed. It is never replaced: with another id the host would not
 * recognise its own copies.
 */
export async function readHostId(stateDir: string, newId: () => string): Promise<string> {
  await mkdir(stateDir, { recursive: true })
  const path = join(stateDir, 'host.json')
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (text === null) return writeHostId(path, newId())
  try {
    return hostFile.parse(JSON.parse(text)).hostId
  } catch (cause) {
    throw new WherryError('COPY_DAMAGED', `${path}, which holds this host's id, cannot be understood.`, {
      hint: 'Restore it: {"hostId":"..."} with the id that other hosts show for this one.',
      cause,
    })
  }
}

async function writeHostId(path: string, hostId: string): Promise<string> {
  await writeDurably(path, [Buffer.from(`${JSON.stringify({ hostId })}\n`)])
  return hostId
}
