import { readFile } from 'node:fs/promises'
import { writeDurably } from './durable-file.ts'

/**
 * Replaces fields of the JSON object in a file. Fields that this version does not know stay.
 * A file that is missing or holds no object is written anew. Durable on return; may be repeated.
 */
export async function writeFields(path: string, fields: object): Promise<void> {
  const before = await readFile(path, 'utf8')
    .then(JSON.parse)
    .catch(() => null)
  const isObject = typeof before === 'object' && !Array.isArray(before)
  await writeDurably(path, [Buffer.from(`${JSON.stringify({ ...(isObject ? before : null), ...fields })}\n`)])
}
