import { closeSync, constants } from 'node:fs'
import { SystemCallError } from './failure.ts'
import { failure, native } from './libc.ts'
import { nameBytes } from './name.ts'

/** The same number on every architecture. */
const SYS_OPENAT2 = 437n
const RESOLVE_NO_SYMLINKS = 0x04n
const RESOLVE_BENEATH = 0x08n
/** PATH_MAX of linux/limits.h, without the NUL. */
const PATH_MAX_BYTES = 4095
/** Length of the path's end that an error names. */
const NAME_SHOWN_CHARS = 100

/**
 * Node does not name these.
 * A descriptor with O_PATH is only a place: opening one never waits and has no effects.
 * O_CLOEXEC is the same on x86-64 and arm64.
 */
export const O_PATH = 0x200000
const O_CLOEXEC = 0x80000

/**
 * Opens `name` (one character per byte) in a held directory, O_PATH or not. Close-on-exec. openat(2).
 * Never follows a symlink: errno ELOOP; with O_PATH the symlink itself is opened, ENOTDIR with O_DIRECTORY.
 * Half the cost of opening /proc/self/fd/N/name. A fifo without O_NONBLOCK waits for its other end.
 * Throws SystemCallError; EINVAL for '..' and names with a slash or NUL.
 */
export function openAt(directoryFd: number, name: string, flags: number, mode = 0): number {
  const fd = native('openat')(directoryFd, nameBytes(name), flags | constants.O_NOFOLLOW | O_CLOEXEC, mode)
  if (fd < 0) throw failure('openat', name)
  return fd
}

/** Removes a name that is not a directory from a held directory (unlinkat(2)). Throws SystemCallError. */
export function unlinkAt(directoryFd: number, name: string): void {
  if (native('unlinkat')(directoryFd, nameBytes(name), 0) < 0) throw failure('unlinkat', name)
}

/**
 * Opens the directory at the end of a chain of names below a held directory, as a place (O_PATH).
 * Names have one character per byte; without names it opens the held directory itself.
 * Never follows a symlink at any step (errno ELOOP). The chain may exceed PATH_MAX: it is walked in stretches.
 * Throws SystemCallError; EINVAL for a chain with an invalid name. openat2(2), Linux 5.6.
 */
export function openDirectoryBelow(directoryFd: number, names: readonly string[]): number {
  const how = new BigUint64Array([
    BigInt(O_PATH | constants.O_DIRECTORY | O_CLOEXEC),
    0n,
    RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH,
  ])
  let fd = directoryFd
  for (const path of stretches(names)) {
    const bytes = Buffer.from(`${path}\0`, 'latin1')
    const next = native('openat2')(SYS_OPENAT2, fd, bytes, how, how.byteLength)
    // Read before anything else is called: closing changes it.
    const error = next < 0 ? failure('openat2', path.slice(-NAME_SHOWN_CHARS)) : null
    if (fd !== directoryFd) closeSync(fd)
    if (error !== null) throw error
    fd = Number(next)
  }
  return fd
}

function* stretches(names: readonly string[]): Generator<string> {
  let path = '.'
  for (const name of names) {
    if (name === '' || name === '..' || name.includes('/') || name.includes('\0'))
      throw new SystemCallError('openat2', name, 'EINVAL')
    if (path.length + 1 + name.length > PATH_MAX_BYTES) {
      yield path
      path = '.'
    }
    path += `/${name}`
  }
  yield path
}
