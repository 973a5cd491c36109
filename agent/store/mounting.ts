import { mkdir, realpath, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { findMountUsers } from '../sys/mount-users.ts'
import { bindMount, detach, readMounts, unmount } from '../sys/mounts.ts'
import { makeReadOnly } from '../sys/read-only-mounts.ts'

/** Who else there is, is found out there. */
const USERS_NAMED = 5

/** Bind mounts of trees at `<mountRoot>/<id>`. What is mounted is always asked of the kernel, never remembered. */
export class Mounting {
  readonly #mountRoot: string

  /** `mountRoot` must be the directory's real path (no symlinks): the kernel lists mounts under that one. */
  constructor(mountRoot: string) {
    this.#mountRoot = mountRoot
  }

  mountpoint(id: string): string {
    return join(this.#mountRoot, id)
  }

  async mounted(): Promise<Set<string>> {
    const ids = new Set<string>()
    for (const { mountpoint } of await readMounts()) {
      if (dirname(mountpoint) === this.#mountRoot) ids.add(mountpoint.slice(this.#mountRoot.length + 1))
    }
    return ids
  }

  async mount(id: string, data: string): Promise<string> {
    const target = this.mountpoint(id)
    if ((await this.mounted()).has(id)) return target
    await mkdir(target, { recursive: true, mode: 0o700 })
    await bindMount(data, target)
    return target
  }

  async unmount(id: string): Promise<void> {
    const target = this.mountpoint(id)
    while ((await this.mounted()).has(id)) {
      try {
        await unmount(target)
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY') throw error
        await detachUnwritten(id, target, error)
      }
    }
    await rmdir(target).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error
    })
  }
}

/**
 * Detaches a mount that is busy, if nobody can write to it any more: whoever reads there goes on, through a mount that
 * is read-only. VOLUME_BUSY otherwise, with the mount point and who uses it.
 */
async function detachUnwritten(id: string, target: string, cause: unknown): Promise<void> {
  const { places, users, isComplete } = await findMountUsers(id)
  const inner = places.flatMap((place) => place.inner)
  const isOnlyRead = isComplete && users.length > 0 && inner.length === 0 && !users.some(({ writes }) => writes)
  const outcome = isOnlyRead ? await makeReadOnly(places) : 'busy'
  if (outcome === 'read-only') return await detach(target)
  const mountpoints = [...new Set(places.flatMap((place) => place.mountpoints))]
  const processes = users.map(
    ({ pid, command, writes }) => `process ${pid} (${command})${writes ? ' can write' : ' reads'}`,
  )
  const named =
    processes.length > USERS_NAMED
      ? [...processes.slice(0, USERS_NAMED), `${processes.length - USERS_NAMED} more`]
      : processes
  const found =
    [...named, ...inner.map((mountpoint) => `mount ${mountpoint}`)].join(', ') || 'no process that can be seen'
  const why = typeof outcome === 'string' ? '' : ` It cannot be made read-only either: ${outcome.failed}`
  const where = mountpoints.join(', ') || target
  throw new WherryError('VOLUME_BUSY', `The volume at ${where} cannot be unmounted, it is used by: ${found}.${why}`, {
    hint: 'End what has files open or its working directory there.',
    cause,
  })
}

/** The mount root with all symlinks resolved, made when missing. */
export async function openMountRoot(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  return await realpath(path)
}
