import { callNow } from './libc.ts'

const CLOCK_BOOTTIME = 7

/** Written and read within one call, so a thread needs one buffer. It is made on first use. */
let timespec: BigInt64Array | undefined

/**
 * Milliseconds since the host was booted, including suspended time (CLOCK_BOOTTIME, clock_gettime(2)).
 * All processes of the host read the same, except in time namespaces, which Docker does not use.
 * Node's own clocks (performance.now, process.hrtime) are CLOCK_MONOTONIC, which stops in a suspended host.
 */
export function bootTimeMs(): number {
  timespec ??= new BigInt64Array(2)
  callNow('clock_gettime', 'CLOCK_BOOTTIME', CLOCK_BOOTTIME, timespec)
  return Number(timespec[0]) * 1_000 + Number(timespec[1]) / 1_000_000
}
