import { errnoOf } from './failure.ts'
import { callNow, cString } from './libc.ts'

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const UTIME_OMIT = 0x3ffffffen
const NS_PER_SECOND = 1_000_000_000n

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h: nothing the kernel answers is longer. */
const XATTR_MAX_BYTES = 65_536

/** Sets the mtime (ns since 1970, may be negative) of what `path` names, never of what a symlink points to; atime stays. */
export function setMtime(path: Buffer, mtimeNs: bigint): void {
  let seconds = mtimeNs / NS_PER_SECOND
  let rest = mtimeNs % NS_PER_SECOND
  if (rest < 0n) {
    seconds -= 1n
    rest += NS_PER_SECOND
  }
  const times = new BigInt64Array([0n, UTIME_OMIT, seconds, rest])
  callNow('utimensat', path.toString(), AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW)
}

/** Names of the extended attributes, as the kernel lists them; none where the file system knows none. Symlinks are not followed. */
export function listXattrs(path: Buffer): string[] {
  const list = Buffer.allocUnsafe(XATTR_MAX_BYTES)
  try {
    const length = callNow('llistxattr', path.toString(), cString(path), list, list.length)
    return length === 0 ? [] : list.toString('latin1', 0, length - 1).split('\0')
  } catch (error) {
    if (errnoOf(error) === 'ENOTSUP' || errnoOf(error) === 'EOPNOTSUPP') return []
    throw error
  }
}

/** The value of one extended attribute (name in latin1, one character per byte). Symlinks are not followed. */
export function getXattr(path: Buffer, name: string): Buffer {
  const value = Buffer.allocUnsafe(XATTR_MAX_BYTES)
  const length = callNow('lgetxattr', path.toString(), cString(path), cName(name), value, value.length)
  return Buffer.from(value.subarray(0, length))
}

/** Sets one extended attribute, replacing an old value. Symlinks are not followed. */
export function setXattr(path: Buffer, name: string, value: Buffer): void {
  callNow('lsetxattr', path.toString(), cString(path), cName(name), value, value.length, 0)
}

/** Removes one extended attribute. Symlinks are not followed. */
export function removeXattr(path: Buffer, name: string): void {
  callNow('lremovexattr', path.toString(), cString(path), cName(name))
}

function cName(name: string): Buffer {
  return cString(Buffer.from(name, 'latin1'))
}
