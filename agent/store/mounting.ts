import { mkdir, realpath, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'
import { bindMount, readMounts, unmount } from '../sys/mounts.ts'

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
        throw new WherryError('VOLUME_BUSY', `The volume at ${target} cannot be unmounted: something still uses it.`, {
          hint: 'Stop what has files open or its working directory there, then try again.',
          cause: error,
        })
      }
    }
    await rmdir(target).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error
    })
  }
}

/** The mount root with all symlinks resolved, made when missing. */
export async function openMountRoot(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  return await realpath(path)
}
