import { closeSync, openSync } from 'node:fs'
import { errnoOf } from './failure.ts'
import { tryLock } from './flock.ts'
import { callAsync, callNow, cString } from './libc.ts'

const SEEK_DATA = 3
const SEEK_HOLE = 4
const FALLOC_FL_KEEP_SIZE = 1
const FALLOC_FL_PUNCH_HOLE = 2
const FALLOC_FL_ZERO_RANGE = 16
const SYNC_FILE_RANGE_WAIT_BEFORE = 1
const SYNC_FILE_RANGE_WRITE = 2
const SYNC_FILE_RANGE_WAIT_AFTER = 4
const POSIX_FADV_RANDOM = 1
const POSIX_FADV_WILLNEED = 3
const POSIX_FADV_DONTNEED = 4
/** Errors for other file systems or kinds of files, between which the kernel cannot copy. */
const UNCOPYABLE: ReadonlySet<string> = new Set(['EXDEV', 'EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'])

/** Makes a fifo, socket or device node; `mode` has the type bits (S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK). */
export function makeNode(path: Buffer, mode: number, device: bigint): void {
  callNow('mknod', path.toString(), cString(path), mode, device)
}

/** Writes all data of the file system of `fd` to its device, and write-protects mapped pages (syncfs(2)). */
export async function syncFileSystem(fd: number, path: string): Promise<void> {
  await callAsync('syncfs', path, fd)
}

/** Returns the first byte at or after `offset` outside a hole; null when only a hole is left (lseek(2), SEEK_DATA). */
export function nextData(fd: number, offset: number): number | null {
  try {
    return callNow('lseek', `fd ${fd}`, fd, offset, SEEK_DATA)
  } catch (error) {
    if (errnoOf(error) === 'ENXIO') return null
    throw error
  }
}

/** Returns the first byte at or after `offset` in a hole; the end of the file counts as a hole. */
export function nextHole(fd: number, offset: number): number {
  return callNow('lseek', `fd ${fd}`, fd, offset, SEEK_HOLE)
}

/**
 * Turns a range of an open file into a hole and frees its space; the size stays (fallocate(2)).
 * errno EOPNOTSUPP where the file system has no holes.
 */
export function punchHole(fd: number, offset: number, length: number): void {
  callNow('fallocate', `fd ${fd}`, fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length)
}

/**
 * Turns a range of an open file into allocated zeros; the size stays (fallocate(2)). False where that is impossible.
 */
export function allocateZeros(fd: number, offset: number, length: number): boolean {
  try {
    callNow('fallocate', `fd ${fd}`, fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, offset, length)
    return true
  } catch (error) {
    if (UNCOPYABLE.has(errnoOf(error) ?? '')) return false
    throw error
  }
}

/**
 * Starts writing a range of an open file to its device (sync_file_range(2), SYNC_FILE_RANGE_WRITE).
 * Does not wait, and makes nothing durable: it only leaves less for the sync that follows.
 * Blocks while the device's queue is full.
 */
export function startWriteback(fd: number, offset: number, length: number): void {
  callNow('sync_file_range', `fd ${fd}`, fd, offset, length, SYNC_FILE_RANGE_WRITE)
}

/**
 * Writes every dirty page of an open file to its device and waits (sync_file_range(2)).
 * Each page was clean for a moment afterwards, even if the file system did not yet list the inode as dirty; syncfs(2)
 * goes by that list alone. Makes nothing durable.
 */
export async function cleanPages(fd: number): Promise<void> {
  const flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER
  await callAsync('sync_file_range', `fd ${fd}`, fd, 0, 0, flags)
}

/**
 * Makes later reads through this open file enter the page cache page by page (posix_fadvise(2)).
 * Read-ahead would use large folios (page_cache_sync_ra and force_page_cache_ra in mm/readahead.c).
 * Nothing is read ahead then, except what `willRead` names.
 */
export function readByPages(fd: number): void {
  callNow('posix_fadvise', `fd ${fd}`, fd, 0, 0, POSIX_FADV_RANDOM)
}

/** Starts reading a range of an open file into the page cache; does not wait for it (posix_fadvise(2)). */
export async function willRead(fd: number, offset: number, length: number): Promise<void> {
  await callAsync('posix_fadvise', `fd ${fd}`, fd, offset, length, POSIX_FADV_WILLNEED)
}

/** Drops the clean page cache of an open file: the next read asks the disk (posix_fadvise(2)). */
export function dropCached(fd: number): void {
  callNow('posix_fadvise', `fd ${fd}`, fd, 0, 0, POSIX_FADV_DONTNEED)
}

/**
 * Copies up to `length` bytes between two open files at the same offset within the kernel (copy_file_range(2)).
 * Shares extents where the file system can. Returns the bytes copied, 0 at the end of the source.
 * Null where these two files must be read and written instead.
 */
export function copyRange(from: number, to: number, offset: number, length: number): number | null {
  const at = BigInt(offset)
  try {
    const offsets = [new BigInt64Array([at]), new BigInt64Array([at])]
    return callNow('copy_file_range', `fd ${from}`, from, offsets[0], to, offsets[1], length, 0)
  } catch (error) {
    if (UNCOPYABLE.has(errnoOf(error) ?? '')) return null
    throw error
  }
}

/** Locks a file (made when missing) until disposed or the process ends; null: another process has it (flock(2)). */
export function lockFile(path: string): Disposable | null {
  const fd = openSync(path, 'a', 0o600)
  try {
    if (!tryLock(fd)) {
      closeSync(fd)
      return null
    }
  } catch (error) {
    closeSync(fd)
    throw error
  }
  let held = true
  return {
    [Symbol.dispose]: () => {
      // A second close would hit whichever file has the number by then.
      if (held) closeSync(fd)
      held = false
    },
  }
}
