import type { SystemCallError } from './failure.ts'
import { callNow, cString, failure, native } from './libc.ts'
import { nameBytes, procPath } from './name.ts'
import { NS_PER_SECOND } from './stat.ts'

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const UTIME_OMIT = 0x3ffffffen

/**
 * Number of listxattrat(2) on every architecture, from Linux 6.13 on; glibc does not name it.
 * It costs a third of llistxattr through /proc.
 */
const LISTXATTRAT = 465
/** Result of a call that this kernel does not have. */
let withoutListxattrat = false

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h: the kernel returns nothing longer. */
const XATTR_MAX_BYTES = 65_536
/** The kernel allocates the requested size before it reads: asking for a page first saves a quarter of the call. */
const XATTR_USUAL_BYTES = 4_096

/** Every call here ends before the next begins, so a thread needs one buffer. It is made on first use. */
let scratch: Buffer | undefined

/** Sets the mtime (ns since 1970, may be negative) of `path`, never of a symlink's target. The atime stays. */
export function setMtime(path: Buffer, mtimeNs: bigint): void {
  callNow('utimensat', path.toString(), AT_FDCWD, cString(path), timesOf(mtimeNs), AT_SYMLINK_NOFOLLOW)
}

/** Sets the mtime (ns since 1970, may be negative) of an open file; the atime stays (futimens(3)). Not for O_PATH. */
export function setTimes(fd: number, mtimeNs: bigint): void {
  if (native('futimens')(fd, timesOf(mtimeNs)) < 0) throw failure('futimens', `fd ${fd}`)
}

/** Two struct timespec: the atime unchanged, the mtime in seconds and nanoseconds. */
function timesOf(mtimeNs: bigint): BigInt64Array {
  let seconds = mtimeNs / NS_PER_SECOND
  let rest = mtimeNs % NS_PER_SECOND
  if (rest < 0n) {
    seconds -= 1n
    rest += NS_PER_SECOND
  }
  return new BigInt64Array([0n, UTIME_OMIT, seconds, rest])
}

/**
 * Lists the names of the extended attributes, in the kernel's order; none where the file system has none.
 * Does not follow symlinks.
 */
export function listXattrs(path: Buffer): string[] {
  return listed(cString(path), path)
}

/** Like `listXattrs`, for `name` (one character per byte) in a held directory, O_PATH or not; '' is the directory. */
export function listXattrsAt(directoryFd: number, name: string): string[] {
  // listxattrat(2) does not accept an O_PATH descriptor itself.
  if (withoutListxattrat || name === '') return listed(procPath(directoryFd, name), name)
  scratch ??= Buffer.allocUnsafeSlow(XATTR_MAX_BYTES)
  const list = native('syscall')
  const bytes = nameBytes(name)
  let length = list(LISTXATTRAT, directoryFd, bytes, AT_SYMLINK_NOFOLLOW, scratch, XATTR_USUAL_BYTES)
  if (length === 0) return []
  if (length < 0) length = list(LISTXATTRAT, directoryFd, bytes, AT_SYMLINK_NOFOLLOW, scratch, XATTR_MAX_BYTES)
  if (length >= 0) return namesIn(length)
  const error = failure('syscall', name)
  if (isUnsupported(error)) return []
  // Whatever the kernel, or a filter in front of it, returns for an unknown call, the older call works.
  if (error.errno === 'ENOSYS') withoutListxattrat = true
  return listed(procPath(directoryFd, name), name)
}

function listed(path: Buffer, shown: Buffer | string): string[] {
  scratch ??= Buffer.allocUnsafeSlow(XATTR_MAX_BYTES)
  const list = native('llistxattr')
  let length = list(path, scratch, XATTR_USUAL_BYTES)
  // ERANGE most likely; any other error comes again.
  if (length < 0) length = list(path, scratch, XATTR_MAX_BYTES)
  if (length >= 0) return namesIn(length)
  const error = failure('llistxattr', shown.toString())
  if (isUnsupported(error)) return []
  throw error
}

function namesIn(length: number): string[] {
  return length === 0 || scratch === undefined ? [] : scratch.toString('latin1', 0, length - 1).split('\0')
}

function isUnsupported({ errno }: SystemCallError): boolean {
  return errno === 'ENOTSUP' || errno === 'EOPNOTSUPP'
}

/** Reads one extended attribute (name in latin1, one character per byte). Does not follow symlinks. */
export function getXattr(path: Buffer, name: string): Buffer {
  return valueAt(cString(path), path, name)
}

/** Like `getXattr`, for `name` in a held directory, O_PATH or not; '' is the directory itself. */
export function getXattrAt(directoryFd: number, name: string, attribute: string): Buffer {
  return valueAt(procPath(directoryFd, name), name, attribute)
}

function valueAt(path: Buffer, shown: Buffer | string, attribute: string): Buffer {
  scratch ??= Buffer.allocUnsafeSlow(XATTR_MAX_BYTES)
  const name = cName(attribute)
  const get = native('lgetxattr')
  let length = get(path, name, scratch, XATTR_USUAL_BYTES)
  if (length < 0) length = get(path, name, scratch, XATTR_MAX_BYTES)
  if (length < 0) throw failure('lgetxattr', shown.toString())
  return Buffer.from(scratch.subarray(0, length))
}

/** Sets one extended attribute, replacing an old value. Does not follow symlinks. */
export function setXattr(path: Buffer, name: string, value: Buffer): void {
  callNow('lsetxattr', path.toString(), cString(path), cName(name), value, value.length, 0)
}

/** Removes one extended attribute. Does not follow symlinks. */
export function removeXattr(path: Buffer, name: string): void {
  callNow('lremovexattr', path.toString(), cString(path), cName(name))
}

function cName(name: string): Buffer {
  return cString(Buffer.from(name, 'latin1'))
}
