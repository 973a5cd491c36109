/**
 * Longest wait after failures in a row. A failed checkpoint freezes its containers for up to half a second: once a
 * minute is bearable, and a longer wait would lose more with the host.
 */
const LONGEST_BACK_OFF_MS = 60_000

/** Returns the time from the start of one attempt to the next, after this many failures in a row. */
export function backOffMs(intervalMs: number, failures: number, longestMs = LONGEST_BACK_OFF_MS): number {
  if (failures === 0) return intervalMs
  return Math.max(intervalMs, Math.min(intervalMs * 2 ** failures, longestMs))
}

/** From a failure to the next try, of work that may never succeed: short at first, and never more seldom than this. */
const RETRY_LEAST_MS = 1_000
export const RETRY_MOST_MS = 5 * 60_000

/** Returns the time from the end of a failed try to the next one, after this many failures for the same reason. */
export function retryAfterMs(failures: number): number {
  return Math.min(RETRY_MOST_MS, RETRY_LEAST_MS * 2 ** (failures - 1))
}
