import { failure, native } from './libc.ts'

const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602

/** Inode flags of ioctl_iflags(2) that are part of a volume's data. */
export const FLAG_IMMUTABLE = 0x10
export const FLAG_APPEND = 0x20
export const FLAG_NODUMP = 0x40
export const FLAG_NOCOW = 0x800000

/** Errors of file systems without flags, or without one of the requested ones. */
const UNKNOWN: ReadonlySet<string> = new Set(['ENOTTY', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

/**
 * Reads the inode flags of an open file or directory (not O_PATH); undefined where the file system has none.
 * ioctl_iflags(2).
 */
export function getFlags(fd: number): number | undefined {
  // The kernel writes 32 bits, although the request's number says 64.
  const flags = new Uint32Array(1)
  if (native('ioctl')(fd, FS_IOC_GETFLAGS, flags) >= 0) return flags[0]
  return unknown(fd)
}

/**
 * Sets all inode flags of an open file or directory and returns them: start from the result of `getFlags`.
 * Undefined where the file system does not know one of them.
 * Throws SystemCallError, EPERM without CAP_LINUX_IMMUTABLE.
 */
export function setFlags(fd: number, flags: number): number | undefined {
  if (native('ioctl')(fd, FS_IOC_SETFLAGS, new Uint32Array([flags])) >= 0) return flags
  return unknown(fd)
}

function unknown(fd: number): undefined {
  const error = failure('ioctl', `fd ${fd}`)
  if (!UNKNOWN.has(error.errno)) throw error
  return undefined
}
