import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Suffix of files that are being written; such a file left behind means nothing. */
export const UNFINISHED = '.tmp'

type Chunks = AsyncIterable<Buffer> | Iterable<Buffer>

/** Replaces a whole file: after a crash either the old or the new one is there. Durable on return; may be repeated. */
export async function writeDurably(path: string, chunks: Chunks): Promise<void> {
  await writeTogether(dirname(path), [{ path, chunks }])
}

/**
 * Replaces several files of one directory.
 * After a crash each is the old or the new one, and a new one only if those before it are new.
 * Costs less than one after the other. `replaced` is called after each. Durable on return; may be repeated.
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

/** Syncs the names in a directory to the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
