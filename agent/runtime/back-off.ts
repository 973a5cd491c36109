/** Tries that fail come further and further apart, up to this: half a second of standing still each minute is bearable, what is lost with a host meanwhile may not be. */
const LONGEST_BACK_OFF_MS = 60_000

/** Time from the begin of one try to the next, after so many failures in a row. */
export function backOffMs(intervalMs: number, failures: number): number {
  if (failures === 0) return intervalMs
  return Math.max(intervalMs, Math.min(intervalMs * 2 ** failures, LONGEST_BACK_OFF_MS))
}
