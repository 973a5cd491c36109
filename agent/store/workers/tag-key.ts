import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurably } from '../../runtime/durable-file.ts'
import { errnoOf } from '../../sys/failure.ts'
import { TAG_KEY_BYTES } from './block-tag.ts'

/**
 * Returns this host's key for the tags of blocks (block-tag.ts); makes it when there is none, durably.
 * Only root can read it, and it never leaves the host.
 * Losing it costs one reading of each large file that changes.
 */
export async function tagKey(stateDir: string): Promise<Buffer> {
  const path = join(stateDir, 'tag.key')
  const kept = await readIfThere(path)
  if (kept?.length === TAG_KEY_BYTES) return kept
  const key = randomBytes(TAG_KEY_BYTES)
  await writeDurably(path, [key])
  return key
}

async function readIfThere(path: string): Promise<Buffer | null> {
  try {
    return await readFile(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return null
  }
}
