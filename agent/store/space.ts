import { statfs } from 'node:fs/promises'
import { WherryError } from '../errors.ts'
import { errnoOf } from '../sys/failure.ts'

/** Directories, inodes and journals of what comes in; a hundredth more than the data, but at least this. */
const RESERVE_BYTES = 1024 * 1024
const RESERVE_SHARE = 0.01

/** Rejects DISK_FULL, naming needed and available bytes, when `neededBytes` of data do not fit on the disk of `path`. */
export async function requireSpace(path: string, volume: string, neededBytes: number): Promise<void> {
  if (neededBytes === 0) return
  const { bavail, bsize } = await statfs(path)
  const availableBytes = bavail * bsize
  const withReserve = neededBytes + Math.max(RESERVE_BYTES, Math.ceil(neededBytes * RESERVE_SHARE))
  if (withReserve <= availableBytes) return
  throw new WherryError(
    'DISK_FULL',
    `Volume ${volume} does not fit on this host's disk: ${withReserve} bytes needed, ${availableBytes} available.`,
    { hint: `Free space on the file system of ${path}.` },
  )
}

/** Runs `work`; a full disk or quota met meanwhile becomes DISK_FULL. */
export async function orDiskFull<T>(path: string, volume: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const errno = errnoOf(error)
    if (errno !== 'ENOSPC' && errno !== 'EDQUOT') throw error
    const { bavail, bsize } = await statfs(path)
    const why = errno === 'EDQUOT' ? 'the quota is used up' : `${bavail * bsize} bytes available`
    throw new WherryError('DISK_FULL', `This host's disk is full (${why}) while volume ${volume} was written.`, {
      hint: `Free space on the file system of ${path}, then try again; what has come is kept.`,
      cause: error,
    })
  }
}
