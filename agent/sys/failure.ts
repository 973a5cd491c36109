import { WherryError } from '../errors.ts'

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
  const code = (error as NodeJS.ErrnoException).code
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}
