import { mkdir, realpath, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { WherryError } from '../../model/errors.ts'
import { errnoOf } from '../../sys/failure.ts'
import { bindMount, detach, readMounts, unmount } from '../../sys/mounts.ts'
import { makeReadOnly, makeWritable, type ReadOnlyOutcome } from '../../sys/read-only-mounts.ts'
import { findTreeUse, type MountPlace, type TreeUse, type TreeUser } from '../../sys/tree-use.ts'

/** How many users an error names; the operator finds the others on that host. */
const USERS_NAMED = 5
const MOUNTPOINTS_NAMED = 2
/** A namespace may end, or a file be opened, between the scan and the change. */
const SEAL_TRIES = 4

/** Bind mounts of trees at `<mountRoot>/<id>`. The kernel is asked each time; nothing is remembered. */
export class BindMounts {
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

  /**
   * Removes what an agent that was killed in `unmount` has left: read-only mounts without writers.
   * A container would be given one.
   */
  async recover(): Promise<void> {
    // A mount that is there twice, as a plugin's may be, goes at once.
    for (;;) {
      const mounts = await readMounts()
      const left = mounts.find(({ mountpoint, isReadOnly }) => isReadOnly && dirname(mountpoint) === this.#mountRoot)
      if (left === undefined) return
      await detach(left.mountpoint)
    }
  }

  /** Unmounts the tree `data`, and removes every other way to write to it. VOLUME_BUSY, see `seal`. */
  async unmount(id: string, data: string): Promise<void> {
    const target = this.mountpoint(id)
    while ((await this.mounted()).has(id)) {
      try {
        await unmount(target)
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY') throw error
        await seal(target, data, error)
        await detach(target)
      }
    }
    await seal(target, data, null)
    await removeMountpoint(target)
  }
}

/**
 * Removes the mount at `target`. May be repeated.
 * Its copies in other namespaces go with it, also where other mounts cover them.
 */
async function removeMountpoint(target: string): Promise<void> {
  await rmdir(target).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
}

/**
 * Makes all mounts of a tree read-only that are left in any namespace.
 * Readers there are not disturbed.
 * The tree's containers have ended: nothing may write to it any more.
 * VOLUME_BUSY: something is open for writing; the message names the mount points and the processes.
 * `refused`: why the mount at `target` cannot be unmounted.
 */
async function seal(target: string, data: string, refused: unknown): Promise<void> {
  const sealed: MountPlace[] = []
  try {
    await sealUnlessWritten(target, data, refused, sealed)
  } catch (error) {
    // The mount stays, and the next container here gets it.
    if (refused !== null) await makeWritable(sealed)
    throw error
  }
}

/** `sealed`: the mounts that have become read-only so far. */
async function sealUnlessWritten(target: string, data: string, refused: unknown, sealed: MountPlace[]): Promise<void> {
  for (let tries = 1; ; tries++) {
    const use = await findTreeUse(data)
    const open = use.places.filter(({ writable }) => writable.length > 0)
    // Mounts below a detached mount would go with it.
    const inner = refused === null ? [] : use.places.flatMap((place) => place.inner)
    const isHidden = refused !== null && !use.isComplete
    // Covered mounts go with the detached mount they came from. One that is left may be uncovered some day.
    const isCovered = refused === null && use.places.some(({ covered }) => covered.length > 0)
    const isWritten = use.users.some(({ writes }) => writes)
    if (isWritten || isHidden || inner.length > 0) throw busy(target, use, inner, null, refused)
    if (open.length === 0 && !isCovered) return
    const outcome = open.length === 0 ? null : await makeReadOnly(open)
    if (outcome === 'read-only') sealed.push(...open)
    if (tries >= SEAL_TRIES) throw busy(target, use, inner, outcome, refused)
    // A reader in a mount that is not covered keeps it read-only.
    if (isCovered && open.length === 0) await removeMountpoint(target)
  }
}

function busy(
  target: string,
  { places, users, isComplete, passedOver }: TreeUse,
  inner: readonly string[],
  outcome: ReadOnlyOutcome | null,
  cause: unknown,
): WherryError {
  const mountpoints = [...new Set(places.flatMap((place) => place.mountpoints))]
  const processes = users.toSorted((a, b) => Number(b.writes) - Number(a.writes)).map(describeUser)
  const named = atMost(USERS_NAMED, processes)
  // Mounts that go with the refused mount are not reported.
  const hidden = cause === null ? places.flatMap((place) => place.covered) : []
  const covered = hidden.map((mountpoint) => `mount ${mountpoint}, below another one`)
  const found =
    [...named, ...covered, ...inner.map((mountpoint) => `mount ${mountpoint}`)].join(', ') ||
    'no process that can be seen'
  const stuck =
    passedOver.length === 0
      ? ''
      : ` (not those that are stuck: ${atMost(USERS_NAMED, passedOver.map(String)).join(', ')})`
  const unseen = cause === null || isComplete ? '' : ` Not all processes of the host show what they use${stuck}.`
  const failed =
    outcome === null || typeof outcome === 'string' ? '' : ` It cannot be made read-only: ${outcome.failed}`
  const why = `${unseen}${failed}`
  const where = atMost(MOUNTPOINTS_NAMED, mountpoints).join(', ') || target
  return new WherryError('VOLUME_BUSY', `The volume at ${where} cannot be unmounted. It is used by: ${found}.${why}`, {
    hint: 'End the processes that have files open or their working directory there.',
    ...(cause === null ? {} : { cause }),
  })
}

function describeUser({ pid, command, container, writes }: TreeUser): string {
  const where = container === null ? '' : ` in container ${container}`
  return `process ${pid} (${command})${writes ? ' can write' : ' reads'}${where}`
}

function atMost(count: number, names: readonly string[]): string[] {
  return names.length > count ? [...names.slice(0, count), `${names.length - count} more`] : [...names]
}

/** Returns the mount root with all symlinks resolved; makes it when missing. */
export async function openMountRoot(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  return await realpath(path)
}
