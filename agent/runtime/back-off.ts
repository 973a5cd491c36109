/**
 * Longest wait after failures in a row. A failed checkpoint freezes its containers for up to half a second: once a
 * minute is bearable, and a longer wait would lose more with the host.
 */
const LONGEST_BACK_OFF_MS = 60_000

/** Returns the time from the start of one attempt to the next, after this many failures in a row. */
export function backOffMs(intervalMs: number, failures: number): number {
  if (failures === 0) return intervalMs
  return Math.max(intervalMs, Math.min(intervalMs * 2 ** failures, LONGEST_BACK_OFF_MS))
}
