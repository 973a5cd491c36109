import { closeSync, lstatSync, rmdirSync, unlinkSync } from 'node:fs'
import { lstat, mkdir, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory } from '../../durable.ts'
import { WherryError } from '../../errors.ts'
import { errnoOf } from '../../sys/failure.ts'
import { at, openDirectory, openRoot, self } from '../inode/directory.ts'
import { changeFlags } from '../inode/flags.ts'
import { Pace } from '../pace.ts'

/** `<id>-<ms since 1970>`: the name says how long it has been there. */
const NAME = /^.+-(\d{13,15})$/

/** Moves a copy's directory into the trash. Durable on return; nothing happens when it is not there. */
export async function moveToTrash(directory: string, id: string, trash: string, now: Date): Promise<void> {
  await mkdir(trash, { recursive: true, mode: 0o700 })
  try {
    await rename(directory, join(trash, `${id}-${now.getTime()}`))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  await syncDirectory(trash)
  await syncDirectory(dirname(directory))
}

/** Deletes what came into the trash before `before`; answers the names. What is named otherwise is not ours and stays. */
export async function emptyTrash(trash: string, before: Date): Promise<string[]> {
  const deleted: string[] = []
  const failures: unknown[] = []
  for (const name of await readdir(trash)) {
    const time = NAME.exec(name)?.[1]
    if (time === undefined || Number(time) > before.getTime()) continue
    try {
      await removeTree(join(trash, name))
      deleted.push(name)
    } catch (error) {
      // One that cannot be deleted (an immutable file) must not keep the rest.
      failures.push(error)
    }
  }
  if (failures.length > 0) {
    const what = `${failures.length} removed volumes in ${trash} cannot be deleted: ${failures[0]}`
    throw new WherryError('SYSTEM_CALL_FAILED', what, { hint: 'Delete them by hand.', cause: failures[0] })
  }
  return deleted
}

/** Deletes a directory with all that is in it, names of any bytes, whatever its flags, no symlink followed. */
export async function removeTree(path: string): Promise<void> {
  const root = openRoot(path)
  try {
    await removeChildren(root, new Pace())
  } finally {
    closeSync(root)
  }
  removeName(rmdirSync, Buffer.from(path), Buffer.from(dirname(path)))
}

/** Deletes what a path of ours (not of a tree) names, whatever it is; nothing happens when nothing is there. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    if ((await lstat(path)).isDirectory()) await removeTree(path)
    else removeName(unlinkSync, Buffer.from(path), Buffer.from(dirname(path)))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

async function removeChildren(fd: number, pace: Pace): Promise<void> {
  for (const entry of await readdir(self(fd), { encoding: 'buffer', withFileTypes: true })) {
    const name = entry.name.toString('latin1')
    if (entry.isDirectory()) {
      const child = openDirectory(fd, name)
      try {
        await removeChildren(child, pace)
      } finally {
        closeSync(child)
      }
      removeName(rmdirSync, at(fd, name), at(fd, '.'))
    } else {
      removeName(unlinkSync, at(fd, name), at(fd, '.'))
    }
    if (pace.due()) await pace.rest()
  }
}

/** Only root can set immutable and append-only flags, and a volume's are carried over: they are no reason to keep what is in the trash. */
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
