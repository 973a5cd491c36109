import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { decodePath } from './mounts.ts'

/** Of open(2): the bits that say how a file was opened; 0 is for reading. */
const ACCESS_MODE = 3
const O_PATH = 0o10000000

/** A file or directory that a process has open. */
export interface OpenFile {
  /** Below `/proc/PID`. */
  readonly link: string
  /** As its mount namespace has it; from the mount's root where the mount is in no namespace any more. */
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
  /** What the process writes into its memory reaches the file. */
  readonly isWritable: boolean
}

/**
 * The files that a process has open, by `/proc/PID`. Asks the kernel's memory only: a file system that does not answer
 * any more holds nobody up. Nothing for a process that has ended or of which nothing may be known.
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

/** The files that a process has mapped, executables and libraries among them; as `openFiles`. */
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

/** Where a link of `/proc/PID` leads; null: nobody may know, or the process has ended. */
export function linkIn(directory: string, link: string): string | null {
  return orNull(() => readlinkSync(`${directory}/${link}`))
}

/** What a process calls itself. */
export function commandOf(directory: string): string {
  return (orNull(() => readFileSync(`${directory}/comm`, 'utf8')) ?? 'unknown').trim()
}

/** Docker and containerd name a container's control group by its id, whatever driver makes it. */
export function containerOf(directory: string): string | null {
  const groups = orNull(() => readFileSync(`${directory}/cgroup`, 'utf8')) ?? ''
  return /[^0-9a-f]([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])/.exec(groups)?.[1] ?? null
}

/** Processes end while they are looked at. */
export function orNull<T>(look: () => T): T | null {
  try {
    return look()
  } catch {
    return null
  }
}
