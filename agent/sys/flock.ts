import { errnoOf } from './failure.ts'
import { callNow } from './libc.ts'

const LOCK_EX_NB = 2 | 4

/**
 * Locks an open file against all other openings of it; false: another has it.
 * The lock belongs to the open file description: a child that inherits the descriptor keeps it after this process
 * has ended (flock(2)).
 */
export function tryLock(fd: number): boolean {
  try {
    callNow('flock', `fd ${fd}`, fd, LOCK_EX_NB)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN' || errnoOf(error) === 'EWOULDBLOCK') return false
    throw error
  }
}
