import { readFile } from 'node:fs/promises'
import { callAsync, cString } from './libc.ts'

const MS_BIND = 4096
const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8

/** One line of /proc/self/mountinfo, with octal escapes decoded. */
export interface MountInfo {
  /** As `mnt_id` in the fdinfo of a process: unique on the host as long as the mount exists. */
  readonly id: number
  /** Id of the mount on which it is mounted. */
  readonly parent: number
  /** Device of the file system, as `major:minor`. On btrfs stat(2) returns another one. */
  readonly device: string
  /** No one can write through this mount; its file system may still be writable elsewhere. */
  readonly isReadOnly: boolean
  /** Path within the mounted file system that is the root of this mount. */
  readonly root: string
  readonly mountpoint: string
  readonly fsType: string
  readonly source: string
}

/** Bind-mounts directory `source` on directory `target`. Not idempotent: a second call stacks a second mount. */
export async function bindMount(source: string, target: string): Promise<void> {
  await callAsync('mount', target, cString(source), cString(target), null, MS_BIND, null)
}

/**
 * Unmounts the topmost mount at `target`.
 * Rejects with errno EBUSY while something uses it, EINVAL when nothing is mounted.
 */
export async function unmount(target: string): Promise<void> {
  await callAsync('umount2', target, cString(target), UMOUNT_NOFOLLOW)
}

/**
 * Detaches the topmost mount at `target` from the tree, and its propagated copies, whoever uses it.
 * Open files stay open.
 */
export async function detach(target: string): Promise<void> {
  await callAsync('umount2', target, cString(target), UMOUNT_NOFOLLOW | MNT_DETACH)
}

/** Reads the mounts that this process sees, in the kernel's order: later ones lie on top of earlier ones. */
export async function readMounts(): Promise<MountInfo[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1'))
}

/** Parses mountinfo text read as latin1 (proc_pid_mountinfo(5)); paths are returned as UTF-8. */
export function parseMountInfo(text: string): MountInfo[] {
  const mounts: MountInfo[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    // The number of optional fields varies; a lone '-' ends them.
    const separator = fields.indexOf('-', 6)
    const [id, parent, device, root, mountpoint, options] = fields
    const [fsType, source] = [fields[separator + 1], fields[separator + 2]]
    if (separator < 0 || !device || !root || !mountpoint || fsType === undefined || source === undefined) continue
    const isReadOnly = options?.split(',').includes('ro') === true
    const paths = { root: decodePath(root), mountpoint: decodePath(mountpoint) }
    mounts.push({
      id: Number(id),
      parent: Number(parent),
      device,
      ...paths,
      isReadOnly,
      fsType: decodePath(fsType),
      source: decodePath(source),
    })
  }
  return mounts
}

/**
 * Decodes a path of /proc, read as latin1.
 * The kernel writes space, tab, newline, backslash and '#' as three octal digits.
 */
export function decodePath(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
  return Buffer.from(bytes, 'latin1').toString()
}
