import { readFileSync } from 'node:fs'
import { callNow } from './libc.ts'

/** Of glibc, bits/confname.h. */
const SC_PAGESIZE = 30

/**
 * Returns the mode bits that new files of this process do not get (proc_pid_status(5)).
 * umask(2) itself would change it for a moment, for all threads.
 */
export function umask(): number {
  const found = /^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))
  // The kernel does not tell: the caller must set every bit itself.
  return found?.[1] === undefined ? 0o777 : Number.parseInt(found[1], 8)
}

/** Returns the size of a memory page in bytes: 4096 on x86-64, up to 65,536 on arm64. */
export function pageBytes(): number {
  return callNow('sysconf', 'page size', SC_PAGESIZE)
}
