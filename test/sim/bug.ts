import { WherryError } from '../../agent/model/errors.ts'

/** Whether a logged error is a programming error: those of ours have a code, and waits that ended say so. */
export function isBug(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof WherryError) return false
  // A disk that became read-only is no error of the program.
  if ((error as NodeJS.ErrnoException).code === 'EROFS') return false
  return error.name !== 'AbortError'
}
