import { statfs } from 'node:fs/promises'
import { WherryError } from '../../model/errors.ts'
import { errnoOf } from '../../sys/failure.ts'

/** Directories, inodes and journals of what comes in; a hundredth more than the data, but at least this. */
const RESERVE_BYTES = 1024 * 1024
const RESERVE_SHARE = 0.01
/** What a file's content is rounded up to by all common file systems. */
const CLUSTER_BYTES = 4096
/** Inode and name of one file. */
const INODE_BYTES = 512

/** Room on the file system of `path`, as far as others than root may use it. */
export async function spaceOf(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
  const { bavail, blocks, bsize } = await statfs(path)
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
}

/** What a small file takes on the disk. */
export function smallFileBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CLUSTER_BYTES) * CLUSTER_BYTES + INODE_BYTES
}

/** Rejects DISK_FULL, naming what is needed and available, when `neededBytes` of data in `newFiles` files do not fit on the disk of `path`. */
export async function requireSpace(path: string, volume: string, neededBytes: number, newFiles = 0): Promise<void> {
  if (neededBytes === 0 && newFiles === 0) return
  const { bavail, bsize, files, ffree } = await statfs(path)
  const availableBytes = bavail * bsize
  const withReserve = neededBytes + Math.max(RESERVE_BYTES, Math.ceil(neededBytes * RESERVE_SHARE))
  // File systems that make inodes as they go (btrfs) name none.
  const inodesShort = files > 0 && newFiles > ffree
  if (withReserve <= availableBytes && !inodesShort) return
  const short = inodesShort
    ? `${newFiles} inodes needed, ${ffree} available`
    : `${withReserve} bytes needed, ${availableBytes} available`
  throw new WherryError('DISK_FULL', `Volume ${volume} does not fit on this host's disk: ${short}.`, {
    hint: `Free space on the file system of ${path}.`,
  })
}

/** Runs `work`; a full disk or quota met meanwhile becomes DISK_FULL. */
export async function orDiskFull<T>(path: string, volume: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw await diskFullOr(error, path, volume)
  }
}

/** DISK_FULL for an error that says that a disk or quota is full; any other error as it is. */
async function diskFullOr(error: unknown, path: string, volume: string): Promise<unknown> {
  const errno = errnoOf(error)
  if (errno === 'EDQUOT') {
    return new WherryError('DISK_FULL', `A disk quota is used up on this host while volume ${volume} was written.`, {
      hint: `Raise the quota that holds for ${path} and the owners of the volume's files, then try again; what has come is kept.`,
      cause: error,
    })
  }
  if (errno !== 'ENOSPC') return error
  const { bavail, bsize } = await statfs(path)
  const what = `This host's disk is full (${bavail * bsize} bytes available) while volume ${volume} was written.`
  return new WherryError('DISK_FULL', what, {
    hint: `Free space on the file system of ${path}, then try again; what has come is kept.`,
    cause: error,
  })
}

/** For a sync that says that data which had been taken could not be written to the disk: DISK_FULL (a thin volume's pool can be), else SYSTEM_CALL_FAILED. */
export function dataLost(error: unknown, path: string, volume: string): WherryError {
  const errno = errnoOf(error) ?? 'unknown'
  const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'DISK_FULL' : 'SYSTEM_CALL_FAILED'
  const what = `The disk under ${path} took data while volume ${volume} was written, and could not keep it (${errno}).`
  return new WherryError(code, what, {
    hint: "Look at the kernel's log, mend the disk or make room on what it lies on, then try again; the copy is fetched anew.",
    cause: error,
  })
}
