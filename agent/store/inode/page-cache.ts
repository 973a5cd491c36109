import { closeSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { errnoOf } from '../../sys/failure.ts'
import { dropCached } from '../../sys/files.ts'
import { Pace } from '../pace.ts'
import { openDirectory, openFile, openRoot, self } from './directory.ts'

/**
 * Makes the next read of every file below `path` come from the disk. Call it after a sync: the kernel keeps data that it failed to write in
 * memory and takes it for written. Nothing happens when `path` is not there.
 */
export async function dropCachedTree(path: string): Promise<void> {
  let root: number
  try {
    root = openRoot(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  try {
    await dropChildren(root, new Pace())
  } finally {
    closeSync(root)
  }
}

async function dropChildren(directory: number, pace: Pace): Promise<void> {
  for (const entry of await readdir(self(directory), { encoding: 'buffer', withFileTypes: true })) {
    const name = entry.name.toString('latin1')
    if (!entry.isDirectory() && !entry.isFile()) continue
    const fd = entry.isDirectory() ? openDirectory(directory, name) : openFile(directory, name)
    try {
      if (entry.isDirectory()) await dropChildren(fd, pace)
      else dropCached(fd)
    } finally {
      closeSync(fd)
    }
    if (pace.due()) await pace.rest()
  }
}
