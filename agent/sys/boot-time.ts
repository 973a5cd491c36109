import { callNow } from './libc.ts'

const CLOCK_BOOTTIME = 7

/** Written and read within one call: one buffer for a thread, made when it is first needed. */
let timespec: BigInt64Array | undefined

/**
 * Milliseconds since the host was booted, on while it sleeps (CLOCK_BOOTTIME, clock_gettime(2)): the same for every process of the host outside of time
 * namespaces, which Docker does not use. Node's own clocks (performance.now, process.hrtime) are CLOCK_MONOTONIC, which stands still in a suspended host.
 */
export function bootTimeMs(): number {
  timespec ??= new BigInt64Array(2)
  callNow('clock_gettime', 'CLOCK_BOOTTIME', CLOCK_BOOTTIME, timespec)
  return Number(timespec[0]) * 1_000 + Number(timespec[1]) / 1_000_000
}
