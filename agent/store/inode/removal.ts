import { closeSync, lstatSync, rmdirSync, unlinkSync } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import { at, openRoot, self } from './directory.ts'
import { changeFlags } from './flags.ts'
import { Levels } from './levels.ts'

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

async function removeChildren(levels: Levels, pace: YieldLoop): Promise<void> {
  for (const entry of await readdir(self(levels.held.fd), { encoding: 'buffer', withFileTypes: true })) {
    const name = entry.name.toString('latin1')
    if (entry.isDirectory()) {
      levels.enter(name)
      try {
        await removeChildren(levels, pace)
      } finally {
        levels.leave()
      }
    }
    const { fd } = levels.held
    removeName(entry.isDirectory() ? rmdirSync : unlinkSync, at(fd, name), at(fd, '.'))
    if (pace.due()) await pace.rest()
  }
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
