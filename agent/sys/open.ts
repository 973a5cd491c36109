import { constants } from 'node:fs'
import { failure, native } from './libc.ts'
import { nameBytes } from './name.ts'

/** Node has no names for these. A descriptor with O_PATH is only a place: opening one never waits and has no effects. O_CLOEXEC is the same on x86-64 and arm64. */
export const O_PATH = 0x200000
const O_CLOEXEC = 0x80000

/**
 * Opens `name` (one character per byte) in a held directory, O_PATH or not; never through a symlink (errno ELOOP; with O_PATH the symlink itself,
 * ENOTDIR with O_DIRECTORY). Close-on-exec. Half the cost of opening /proc/self/fd/N/name. Throws SystemCallError; EINVAL for '..' and
 * names with a slash or NUL. A fifo without O_NONBLOCK waits for its other end. openat(2).
 */
export function openAt(directoryFd: number, name: string, flags: number, mode = 0): number {
  const fd = native('openat')(directoryFd, nameBytes(name), flags | constants.O_NOFOLLOW | O_CLOEXEC, mode)
  if (fd < 0) throw failure('openat', name)
  return fd
}

/** Removes a name that is no directory from a held directory (unlinkat(2)). Throws SystemCallError. */
export function unlinkAt(directoryFd: number, name: string): void {
  if (native('unlinkat')(directoryFd, nameBytes(name), 0) < 0) throw failure('unlinkat', name)
}
