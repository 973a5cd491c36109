import { closeSync } from 'node:fs'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import { dropCached } from '../../sys/files.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { openFile, openRoot } from './directory.ts'
import { readEntries } from './entries.ts'
import { Levels } from './levels.ts'

/**
 * Makes the next read of every file below `path` come from the disk.
 * Does nothing when `path` is not there.
 * Call it after a sync: the kernel keeps data that it failed to write in memory, and takes it for written.
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
    using levels = new Levels(root)
    await dropChildren(levels, new YieldLoop())
  } finally {
    closeSync(root)
  }
}

async function dropChildren(levels: Levels, pace: YieldLoop): Promise<void> {
  const subdirectories: BytePath[] = []
  for (const entry of readEntries(levels.held.fd)) {
    if (entry.isDirectory()) subdirectories.push(entry.name)
    else if (entry.isFile()) dropFile(levels.held.fd, entry.name)
    if (pace.due()) await pace.rest()
  }
  for (const name of subdirectories) {
    levels.enter(name)
    try {
      await dropChildren(levels, pace)
    } finally {
      levels.leave()
    }
  }
}

function dropFile(directory: number, name: BytePath): void {
  const fd = openFile(directory, name)
  try {
    dropCached(fd)
  } finally {
    closeSync(fd)
  }
}
