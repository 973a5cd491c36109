import { statfs } from 'node:fs/promises'
import { WherryError } from '../../model/errors.ts'
import { errnoOf } from '../../sys/failure.ts'

/** Reserve for directories, inodes and journals of a received tree: a hundredth of the data, but at least this. */
const RESERVE_BYTES = 1024 * 1024
const RESERVE_SHARE = 0.01
/** Free space that spools and stages leave to the containers: this share of the disk, or this much if that is less. */
export const CONTAINERS_SHARE = 0.05
export const CONTAINERS_BYTES = 1024 ** 3
/** All common file systems round up a file's content to this. */
const CLUSTER_BYTES = 4096
/** Bytes of the inode and the name of one file. */
const INODE_BYTES = 512

/** Returns the space on the file system of `path`, as far as users other than root may use it. */
export async function spaceOf(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
  const { bavail, blocks, bsize } = await statfs(path)
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
}

/** Returns the disk space that a small file takes. */
export function smallFileBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CLUSTER_BYTES) * CLUSTER_BYTES + INODE_BYTES
}

/** Returns the free space that is left to the containers of a disk of this size. */
export function containersReserve(totalBytes: number): number {
  return Math.min(CONTAINERS_BYTES, Math.floor(totalBytes * CONTAINERS_SHARE))
}

/** As `requireSpace`, for what can wait: it leaves the containers their reserve. */
export async function requireSpareSpace(path: string, volume: string, neededBytes: number, newFiles = 0) {
  if (neededBytes === 0 && newFiles === 0) return
  const { freeBytes, totalBytes } = await spaceOf(path)
  const reserve = containersReserve(totalBytes)
  const needed = withOverhead(neededBytes)
  if (needed + reserve > freeBytes) {
    const kept = `${reserve} of them kept for containers`
    throw doesNotFit(path, volume, `${needed} bytes needed, ${freeBytes} available, ${kept}`)
  }
  await requireSpace(path, volume, neededBytes, newFiles)
}

/**
 * Rejects DISK_FULL when `neededBytes` of data in `newFiles` files do not fit on the disk of `path`.
 * The message names what is needed and available.
 */
export async function requireSpace(path: string, volume: string, neededBytes: number, newFiles = 0): Promise<void> {
  if (neededBytes === 0 && newFiles === 0) return
  const { bavail, bsize, files, ffree } = await statfs(path)
  const availableBytes = bavail * bsize
  const needed = withOverhead(neededBytes)
  // File systems that make inodes on demand (btrfs) report none.
  const inodesShort = files > 0 && newFiles > ffree
  if (needed <= availableBytes && !inodesShort) return
  const short = inodesShort
    ? `${newFiles} inodes needed, ${ffree} available`
    : `${needed} bytes needed, ${availableBytes} available`
  throw doesNotFit(path, volume, short)
}

function withOverhead(bytes: number): number {
  return bytes + Math.max(RESERVE_BYTES, Math.ceil(bytes * RESERVE_SHARE))
}

function doesNotFit(path: string, volume: string, short: string): WherryError {
  return new WherryError('DISK_FULL', `Volume ${volume} does not fit on this host's disk: ${short}.`, {
    hint: `Free space on the file system of ${path}.`,
  })
}

/** Runs `work`; turns the error of a full disk or quota into DISK_FULL. */
export async function orDiskFull<T>(path: string, volume: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw await diskFullOr(error, path, volume)
  }
}

/** Returns DISK_FULL for the error of a full disk or quota; any other error as it is. */
async function diskFullOr(error: unknown, path: string, volume: string): Promise<unknown> {
  const errno = errnoOf(error)
  if (errno === 'EDQUOT') {
    return new WherryError('DISK_FULL', `A disk quota is used up on this host while volume ${volume} was written.`, {
      hint:
        `Raise the quota that applies to ${path} and to the owners of the volume's files, then try again. ` +
        'What was received is kept.',
      cause: error,
    })
  }
  if (errno !== 'ENOSPC') return error
  const { bavail, bsize } = await statfs(path)
  const what = `This host's disk is full (${bavail * bsize} bytes available) while volume ${volume} was written.`
  return new WherryError('DISK_FULL', what, {
    hint: `Free space on the file system of ${path}, then try again. What was received is kept.`,
    cause: error,
  })
}

/**
 * Returns the error for data that was taken and could not be written to the disk.
 * DISK_FULL (the pool of a thin volume can be full), else SYSTEM_CALL_FAILED.
 */
export function dataLost(error: unknown, path: string, volume: string): WherryError {
  const errno = errnoOf(error) ?? 'unknown'
  const code = errno === 'ENOSPC' || errno === 'EDQUOT' ? 'DISK_FULL' : 'SYSTEM_CALL_FAILED'
  const what = `The disk under ${path} took data while volume ${volume} was written, and could not keep it (${errno}).`
  return new WherryError(code, what, {
    hint:
      "Read the kernel's log. Repair the disk, or free space on the storage below it, then try again. " +
      'The copy is fetched again.',
    cause: error,
  })
}
