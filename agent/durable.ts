import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Ends the names of files that are being written; such a file left over means nothing. */
export const UNFINISHED = '.tmp'

/** Replaces a file as a whole: after a crash the old or the new one is there. Durable on return; may be repeated. */
export async function writeDurably(path: string, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
  const unfinished = `${path}${UNFINISHED}`
  try {
    const file = await open(unfinished, 'w', 0o600)
    try {
      for await (const chunk of chunks) await file.writeFile(chunk)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(unfinished, path)
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}

/** Removes a file if it is there. Durable on return. */
export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true })
  await syncDirectory(dirname(path))
}

/** Puts a directory's names on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
