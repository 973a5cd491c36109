import { WherryError } from '../../model/errors.ts'
import { errnoOf, SystemCallError } from '../../sys/failure.ts'
import type { TaskName } from './tasks.ts'

/** Returns the SystemCallError for a task's error with an errno; INTERNAL for any other: a mistake of ours. */
export function taskError(error: unknown, name: TaskName): WherryError {
  if (error instanceof SystemCallError) return error
  const errno = errnoOf(error)
  if (errno === undefined) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return new WherryError('INTERNAL', `A task of the block pool failed: ${message}`)
  }
  const { syscall = name, path = 'an open file' } = error as NodeJS.ErrnoException
  return new SystemCallError(syscall, path, errno)
}
