import { constants } from 'node:os'
import { WherryError } from '../model/errors.ts'

/** Linux has no larger errno (include/linux/err.h: MAX_ERRNO). */
const ERRNO_MAX = 4095
/** Returned by a file system that finds itself damaged; Node does not name it. */
const EUCLEAN = 117

/** A system call that failed. `errno` is its name ('EBUSY'), `call` and `path` say where. */
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

/** Returns the errno name of a failed system call, made by Node or by this folder; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof SystemCallError) return error.errno
  if (error instanceof WherryError || !(error instanceof Error)) return undefined
  const { code, errno } = error as NodeJS.ErrnoException
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code)) return code
  // libuv does not name some errnos, EDQUOT among them: such an error has only the number.
  return typeof errno === 'number' && errno < 0 && errno >= -ERRNO_MAX ? errnoName(-errno) : undefined
}

/**
 * Adds the file's path to a failure.
 * Calls on open files know no path, and those in a held directory only the last name. Other errors stay as they are.
 */
export function failureOf(path: string, error: unknown): unknown {
  const errno = errnoOf(error)
  if (errno === undefined) return error
  const call = error instanceof SystemCallError ? error.call : ((error as NodeJS.ErrnoException).syscall ?? 'a call')
  return new SystemCallError(call, path, errno)
}

/** Tells whether the disk failed: the caller could not have caused it by what it asked for. */
export function isDiskFailure(errno: string | undefined): boolean {
  return errno !== undefined && ['EIO', 'EUCLEAN', 'EBADMSG', 'ENODATA', 'EILSEQ'].includes(errno)
}

/**
 * Errors of writes to a file system that has become read-only, is damaged or is gone.
 * A full disk or a quota is none of these: nothing is broken then.
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

/** Tells whether an error means that this disk cannot be written any more, or not safely. */
export function isUnwritable(error: unknown): boolean {
  return UNWRITABLE.has(errnoOf(error))
}

/** Returns the name of an errno number. */
export function errnoName(errno: number): string {
  if (errno === EUCLEAN) return 'EUCLEAN'
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
}
