import { readFile } from 'node:fs/promises'
import { callAsync, cString } from './libc.ts'

const MS_BIND = 4096
const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8

/** One line of /proc/self/mountinfo, octal escapes undone. */
export interface MountInfo {
  /** As `mnt_id` in the fdinfo of a process: no other mount of the host has it while this one is there. */
  readonly id: number
  /** The mount on which it is mounted. */
  readonly parent: number
  /** Of the file system, as `major:minor`. On btrfs it is not what stat(2) says. */
  readonly device: string
  /** Nobody writes through this mount; its file system may be written to all the same. */
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

/** Unmounts the topmost mount at `target`; rejects with errno EBUSY while something uses it, EINVAL when nothing is mounted. */
export async function unmount(target: string): Promise<void> {
  await callAsync('umount2', target, cString(target), UMOUNT_NOFOLLOW)
}

/**
 * Takes the topmost mount at `target` off the tree, and off those it was propagated to, whoever uses it; what is open
 * there stays open.
 */
export async function detach(target: string): Promise<void> {
  await callAsync('umount2', target, cString(target), UMOUNT_NOFOLLOW | MNT_DETACH)
}

/** The mounts this process sees, in the kernel's order (later ones lie on top of earlier ones). */
export async function readMounts(): Promise<MountInfo[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1'))
}

/** Parses mountinfo text read as latin1 (proc_pid_mountinfo(5)); paths come back decoded as UTF-8. */
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
 * A path of /proc, read as latin1: the kernel writes space, tab, newline, backslash (and '#') as three octal digits.
 */
export function decodePath(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
  return Buffer.from(bytes, 'latin1').toString()
}
