import { constants } from 'node:os'
import { errnoOf } from '../../sys/failure.ts'

/** Outcomes of one file of a batch; any other number is an errno. */
export const GOOD = 0
export const OTHER_CONTENT = 1

/** Errors that every other file of the batch would meet: of the disk, the process, or the caller's descriptor. */
const OF_THE_WHOLE: ReadonlySet<string> = new Set([
  'EBADF',
  'EDQUOT',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'ENOSPC',
  'ENOTDIR',
  'EROFS',
])

/** Returns the errno number for an error of one file; throws any other error. */
export function outcomeOf(error: unknown): number {
  const errno = errnoOf(error)
  if (errno === undefined || OF_THE_WHOLE.has(errno)) throw error
  const number = (constants.errno as Readonly<Record<string, number>>)[errno]
  if (number === undefined) throw error
  // EPERM's number means other content here: EACCES is the nearest (an immutable file in the way).
  return number === OTHER_CONTENT ? constants.errno.EACCES : number
}
