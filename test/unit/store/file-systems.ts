import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { deleteTree } from './fixture.ts'

export type FileSystemKind = 'ext4' | 'xfs' | 'btrfs'
export const FILE_SYSTEMS: readonly FileSystemKind[] = ['ext4', 'xfs', 'btrfs']

/** mkfs.xfs refuses less than 300 MiB. The image is sparse. */
const IMAGE_MIB = 1024
/**
 * wherry-fs-<pid>-<the process's start, in clock ticks since boot>-<random>: tells whose it is after that one is
 * dead.
 */
const NAME = /^wherry-fs-(\d+)-(\d+)-/
const MKFS: Record<FileSystemKind, readonly string[]> = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
}

export interface FileSystemOptions {
  readonly mebibytes?: number
  /** More arguments of mkfs. */
  readonly mkfs?: readonly string[]
  /** The image lies in memory: for tests that sync thousands of times. */
  readonly inMemory?: boolean
  /** More options of the mount. */
  readonly mountOptions?: readonly string[]
}

/**
 * Makes a file system in a sparse image (`<root>.image`) and mounts it; returns its root.
 * It goes away with the test. What a killed run has left mounted is removed first.
 */
export function fileSystem(
  t: Pick<ExecutionContext, 'teardown'>,
  kind: FileSystemKind,
  { mebibytes = IMAGE_MIB, mkfs = [], inMemory = false, mountOptions = [] }: FileSystemOptions = {},
): string {
  removeLeftovers()
  const own = `wherry-fs-${process.pid}-${startOf(process.pid)}-`
  const base = execFileSync('mktemp', ['-d', join(tmpdir(), `${own}XXXXXX`)], { encoding: 'utf8' }).trim()
  t.teardown(() => remove(base))
  if (inMemory) execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes + 16}M`, 'tmpfs', base])
  const root = join(base, kind)
  const image = imageOf(root)
  mkdirSync(root)
  execFileSync('truncate', ['-s', `${mebibytes}M`, image])
  const [program = '', ...options] = MKFS[kind]
  execFileSync(program, [...options, ...mkfs, image], { stdio: 'pipe' })
  // The loop device is the mount's own: the kernel gives it back with the last unmount.
  execFileSync('mount', ['-o', ['loop', ...mountOptions].join(','), image, root])
  return root
}

/** Path of the image of a file system made here. */
export function imageOf(root: string): string {
  return `${root}.image`
}

/** Takes away what test processes made that are no more. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid, start] = NAME.exec(name) ?? []
    if (pid === undefined || startOf(Number(pid)) === start) continue
    // Another test process may be at it as well.
    try {
      remove(join(tmpdir(), name))
    } catch {}
  }
}

function remove(base: string): void {
  for (const kind of readdirSync(base).filter((name) => (FILE_SYSTEMS as readonly string[]).includes(name))) {
    const root = join(base, kind)
    // Mounts within (volumes of a killed test) go along; a process that still works there must not keep it for ever.
    if (isMounted(root)) execFileSync('umount', ['--recursive', '--lazy', root])
    for (const device of loopDevicesOf(imageOf(root))) spawnSync('losetup', ['--detach', device])
  }
  if (isMounted(base)) execFileSync('umount', ['--lazy', base])
  deleteTree(base)
}

function isMounted(root: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'latin1').includes(` ${root} `)
}

/** Those of a run that was killed between making the device and mounting it. */
function loopDevicesOf(image: string): string[] {
  const { stdout } = spawnSync('losetup', ['--noheadings', '--output', 'NAME', '--associated', image], {
    encoding: 'utf8',
  })
  return stdout.split('\n').filter((line) => line.startsWith('/dev/'))
}

/** When a process was started, as /proc says it (proc_pid_stat(5), field 22); undefined when there is none. */
function startOf(pid: number): string | undefined {
  try {
    // The name in brackets may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/s, '').split(' ')[20]
  } catch {
    return undefined
  }
}
