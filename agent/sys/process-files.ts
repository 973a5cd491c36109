import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { decodePath } from './mounts.ts'

/** Of open(2): the access mode bits; 0 is read-only. */
const ACCESS_MODE = 3
const O_PATH = 0o10000000

/** A file or directory that a process has open. */
export interface OpenFile {
  /** Below `/proc/PID`. */
  readonly link: string
  /** Path in its mount namespace; from the mount's root where the mount is in no namespace any more. */
  readonly path: string
  readonly mountId: number
  /** Null before Linux 5.14. */
  readonly ino: number | null
  readonly isWritable: boolean
}

/** A file that a process has mapped into its memory. */
export interface MappedFile {
  readonly path: string
  /** As `major:minor`. */
  readonly device: string
  readonly ino: number
  /** The process's writes to this memory reach the file. */
  readonly isWritable: boolean
}

/**
 * Yields the files that a process has open, by `/proc/PID`.
 * Reads kernel memory only, so a file system that hangs delays nothing.
 * Yields nothing for a process that has ended, or that may not be inspected.
 */
export function* openFiles(directory: string): Generator<OpenFile> {
  for (const fd of orNull(() => readdirSync(`${directory}/fd`)) ?? []) {
    const path = linkIn(directory, `fd/${fd}`)
    if (path?.startsWith('/') !== true || path === '/dev/null') continue
    const info = orNull(() => readFileSync(`${directory}/fdinfo/${fd}`, 'latin1')) ?? ''
    const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8)
    const ino = /^ino:\s*(\d+)$/m.exec(info)?.[1]
    const isWritable = (flags & O_PATH) === 0 && (flags & ACCESS_MODE) !== 0
    const mountId = Number(/^mnt_id:\s*(\d+)$/m.exec(info)?.[1] ?? -1)
    yield { link: `fd/${fd}`, path, mountId, ino: ino === undefined ? null : Number(ino), isWritable }
  }
}

/** Lists the files that a process has mapped, executables and libraries among them. Otherwise like `openFiles`. */
export function mappedFiles(directory: string): MappedFile[] {
  const text = orNull(() => readFileSync(`${directory}/maps`, 'latin1')) ?? ''
  const line = /^\S+ .(.).(.) \S+ ([0-9a-f]+):([0-9a-f]+) ([1-9]\d*) +(\/.*)$/gm
  return Array.from(text.matchAll(line), ([, write, share, major = '', minor = '', ino, path = '']) => ({
    path: decodePath(path),
    device: `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`,
    ino: Number(ino),
    isWritable: write === 'w' && share === 's',
  }))
}

/** Returns the target of a link of `/proc/PID`; null: not readable, or the process has ended. */
export function linkIn(directory: string, link: string): string | null {
  return orNull(() => readlinkSync(`${directory}/${link}`))
}

/** Returns the name that a process gives itself. */
export function commandOf(directory: string): string {
  return (orNull(() => readFileSync(`${directory}/comm`, 'utf8')) ?? 'unknown').trim()
}

/** Returns the container of a process. Docker and containerd name its control group by the container's id. */
export function containerOf(directory: string): string | null {
  const groups = orNull(() => readFileSync(`${directory}/cgroup`, 'utf8')) ?? ''
  return /[^0-9a-f]([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])/.exec(groups)?.[1] ?? null
}

/** For `catch`: processes end while they are inspected. */
export function orNull<T>(look: () => T): T | null {
  try {
    return look()
  } catch {
    return null
  }
}
