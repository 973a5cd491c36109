import { readFileSync } from 'node:fs'
import { callNow } from './libc.ts'

/** Of glibc, bits/confname.h. */
const SC_PAGESIZE = 30

/** The mode bits that new files of this process do not get (proc_pid_status(5)). Asking umask(2) would set it for a moment, for all threads. */
export function umask(): number {
  const found = /^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))
  // A kernel that does not say: whoever asks must set every bit by itself.
  return found?.[1] === undefined ? 0o777 : Number.parseInt(found[1], 8)
}

/** Size of a page of memory: 4096 on x86-64, up to 65,536 on arm64. */
export function pageBytes(): number {
  return callNow('sysconf', 'page size', SC_PAGESIZE)
}
