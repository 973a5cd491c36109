import { readFileSync } from 'node:fs'

/** Clock ticks a second in /proc (sysconf(_SC_CLK_TCK)): 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100
/** Fields of /proc/PID/stat after the name in parentheses; the state is the first of them (proc(5)). */
const USER_TICKS = 11
const SYSTEM_TICKS = 12

/** Returns the CPU seconds that a process has used so far, all its threads together. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) / TICKS_PER_SECOND
}

/**
 * Returns the memory of a process as PSS: what others share with it is divided among them.
 * Source: smaps_rollup in proc(5).
 */
export function pssBytesOf(pid: number): number {
  const pss = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]
  return Number(pss) * 1024
}
