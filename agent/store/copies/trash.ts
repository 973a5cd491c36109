import { mkdir, readdir, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncDirectory } from '../../durable.ts'
import { WherryError } from '../../errors.ts'
import { errnoOf } from '../../sys/failure.ts'
import { removeTree } from '../inode/removal.ts'

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
