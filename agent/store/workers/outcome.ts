import { constants } from 'node:os'
import { errnoOf } from '../../sys/failure.ts'

/** What became of one file of a batch; any other number is an errno. */
export const GOOD = 0
export const OTHER_CONTENT = 1

/** What no other file of the batch would fare better with: the disk or the process is at its end, or the caller's descriptor is wrong. */
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

/** The errno number of what went wrong with one file; throws what is not about that file. */
export function outcomeOf(error: unknown): number {
  const errno = errnoOf(error)
  if (errno === undefined || OF_THE_WHOLE.has(errno)) throw error
  const number = (constants.errno as Readonly<Record<string, number>>)[errno]
  if (number === undefined) throw error
  // EPERM's number says that the content is another: EACCES is as near as it gets (an immutable file in the way).
  return number === OTHER_CONTENT ? constants.errno.EACCES : number
}
