import { readFileSync } from 'node:fs'

/** The mode bits that new files of this process do not get (proc_pid_status(5)). Asking umask(2) would set it for a moment, for all threads. */
export function umask(): number {
  const found = /^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))
  // A kernel that does not say: whoever asks must set every bit by itself.
  return found?.[1] === undefined ? 0o777 : Number.parseInt(found[1], 8)
}
