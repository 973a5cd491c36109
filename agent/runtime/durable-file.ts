import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Ends the names of files that are being written; such a file left over means nothing. */
export const UNFINISHED = '.tmp'

type Chunks = AsyncIterable<Buffer> | Iterable<Buffer>

/** Replaces a file as a whole: after a crash the old or the new one is there. Durable on return; may be repeated. */
export async function writeDurably(path: string, chunks: Chunks): Promise<void> {
  await writeTogether(dirname(path), [{ path, chunks }])
}

/**
 * Replaces several files of one directory: after a crash each is the old or the new one, a new one only with those before it. Costs
 * less than one after the other. `replaced` is called after each. Durable on return; may be repeated.
 */
export async function writeTogether(
  directory: string,
  files: readonly { readonly path: string; readonly chunks: Chunks }[],
  replaced: (path: string) => void = () => {},
): Promise<void> {
  const written = await Promise.allSettled(files.map(({ path, chunks }) => writeSynced(`${path}${UNFINISHED}`, chunks)))
  try {
    for (const result of written) if (result.status === 'rejected') throw result.reason
    for (const { path } of files) {
      await rename(`${path}${UNFINISHED}`, path)
      replaced(path)
    }
  } catch (error) {
    for (const { path } of files) await rm(`${path}${UNFINISHED}`, { force: true })
    throw error
  }
  await syncDirectory(directory)
}

async function writeSynced(path: string, chunks: Chunks): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    for await (const chunk of chunks) await file.writeFile(chunk)
    await file.sync()
  } finally {
    await file.close()
  }
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
