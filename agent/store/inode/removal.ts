import { closeSync, lstatSync, rmdirSync, unlinkSync } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { at, openRoot } from './directory.ts'
import { readEntries } from './entries.ts'
import { changeFlags } from './flags.ts'
import { Levels } from './levels.ts'

/** Subdirectories of one directory that are remembered at a time. */
const SUBDIRECTORIES_AT_ONCE = 10_000

/** Deletes a directory with everything in it: names of any bytes, any flags, no symlink followed. */
export async function removeTree(path: string): Promise<void> {
  const root = openRoot(path)
  try {
    using levels = new Levels(root)
    await removeChildren(levels, new YieldLoop())
  } finally {
    closeSync(root)
  }
  removeName(rmdirSync, Buffer.from(path), Buffer.from(dirname(path)))
}

/** Deletes whatever a path of ours (not of a tree) names; does nothing when nothing is there. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    if ((await lstat(path)).isDirectory()) await removeTree(path)
    else removeName(unlinkSync, Buffer.from(path), Buffer.from(dirname(path)))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/** Files go as they are read: a directory may have more names than fit in memory. */
async function removeChildren(levels: Levels, pace: YieldLoop): Promise<void> {
  for (;;) {
    const subdirectories = await removeFiles(levels, pace)
    for (const name of subdirectories) {
      levels.enter(name)
      try {
        await removeChildren(levels, pace)
      } finally {
        levels.leave()
      }
      removeHere(levels, rmdirSync, name)
      if (pace.due()) await pace.rest()
    }
    if (subdirectories.length < SUBDIRECTORIES_AT_ONCE) return
  }
}

/** Removes what is no directory, and returns the subdirectories; with as many as there may be, it ends early. */
async function removeFiles(levels: Levels, pace: YieldLoop): Promise<BytePath[]> {
  const subdirectories: BytePath[] = []
  for (const entry of readEntries(levels.held.fd)) {
    if (!entry.isDirectory()) removeHere(levels, unlinkSync, entry.name)
    else if (subdirectories.push(entry.name) >= SUBDIRECTORIES_AT_ONCE) break
    if (pace.due()) await pace.rest()
  }
  return subdirectories
}

function removeHere({ held: { fd } }: Levels, remove: (place: Buffer) => void, name: BytePath): void {
  removeName(remove, at(fd, name), at(fd, '.'))
}

/**
 * Clears immutable and append-only flags: they are carried over with a volume, and are no reason to keep an entry.
 * Only root can set them.
 */
function removeName(remove: (place: Buffer) => void, place: Buffer, parent: Buffer): void {
  try {
    remove(place)
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error
    changeFlags(parent, 0)
    const stat = lstatSync(place)
    if (stat.isDirectory() || stat.isFile()) changeFlags(place, 0)
    remove(place)
  }
}
