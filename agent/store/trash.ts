import { closeSync, rmdirSync, unlinkSync } from 'node:fs'
import { mkdir, readdir, rename, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory } from '../durable.ts'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { at, openDirectory, openRoot, self } from './directory.ts'
import { changeFlags } from './flags.ts'
import { Pace } from './pace.ts'

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
  await rmdir(path)
}

async function removeChildren(fd: number, pace: Pace): Promise<void> {
  for (const entry of await readdir(self(fd), { encoding: 'buffer', withFileTypes: true })) {
    const name = entry.name.toString('latin1')
    const flagged = entry.isDirectory() || entry.isFile()
    if (entry.isDirectory()) {
      const child = openDirectory(fd, name)
      try {
        await removeChildren(child, pace)
      } finally {
        closeSync(child)
      }
      removeName(fd, name, flagged, rmdirSync)
    } else {
      removeName(fd, name, flagged, unlinkSync)
    }
    if (pace.due()) await pace.rest()
  }
}

/** Only root can set immutable and append-only flags, and a volume's are carried over: they are no reason to keep what is in the trash. */
function removeName(fd: number, name: string, flagged: boolean, remove: (place: Buffer) => void): void {
  try {
    remove(at(fd, name))
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error
    changeFlags(at(fd, '.'), 0)
    if (flagged) changeFlags(at(fd, name), 0)
    remove(at(fd, name))
  }
}
