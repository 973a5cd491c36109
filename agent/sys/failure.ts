import { constants } from 'node:os'
import { WherryError } from '../model/errors.ts'

/** Linux has no larger errno (include/linux/err.h: MAX_ERRNO). */
const ERRNO_MAX = 4095
/** What a file system that finds itself damaged answers; Node has no name for it. */
const EUCLEAN = 117

/** A system call that the kernel refused. `errno` is its name ('EBUSY'), `call` and `path` say where. */
export class SystemCallError extends WherryError {
  readonly errno: string
  readonly call: string
  readonly path: string

  constructor(call: string, path: string, errno: string) {
    super('SYSTEM_CALL_FAILED', `${call} of ${path} failed: ${errno}.`)
    this.call = call
    this.path = path
    this.errno = errno
  }
}

/** The errno name of a failed system call, whether Node or this folder made it; undefined for any other error. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof SystemCallError) return error.errno
  if (error instanceof WherryError || !(error instanceof Error)) return undefined
  const { code, errno } = error as NodeJS.ErrnoException
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code
  // libuv has no name for some, EDQUOT among them: such an error has the number alone, and a code for people.
  return typeof errno === 'number' && errno < 0 && errno >= -ERRNO_MAX ? errnoName(-errno) : undefined
}

/** The same failure, saying of which file: calls on open files know no name, and those in a held directory only the last. Any other error as it is. */
export function failureOf(path: string, error: unknown): unknown {
  const errno = errnoOf(error)
  if (errno === undefined) return error
  const call = error instanceof SystemCallError ? error.call : ((error as NodeJS.ErrnoException).syscall ?? 'a call')
  return new SystemCallError(call, path, errno)
}

/** Whether the disk could not do what it was asked: nothing that the one who asked could have changed meanwhile. */
export function isDiskFailure(errno: string | undefined): boolean {
  return errno !== undefined && ['EIO', 'EUCLEAN', 'EBADMSG', 'ENODATA', 'EILSEQ'].includes(errno)
}

/**
 * What writes meet on a file system that has become read-only, is damaged or is gone. A full disk or a quota is none of
 * these: nothing is broken then.
 */
const UNWRITABLE: ReadonlySet<string | undefined> = new Set([
  'EROFS',
  'EIO',
  'EUCLEAN',
  'ESTALE',
  'ENXIO',
  'ENODEV',
  'ENOTCONN',
  'ESHUTDOWN',
  'EREMOTEIO',
])

/** Whether an error says that nothing can be written to this disk any more, or not safely. */
export function isUnwritable(error: unknown): boolean {
  return UNWRITABLE.has(errnoOf(error))
}

/** The name of an errno number. */
export function errnoName(errno: number): string {
  if (errno === EUCLEAN) return 'EUCLEAN'
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
}
