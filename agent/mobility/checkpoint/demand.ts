/** Tries that fail come further and further apart, up to this: half a second of standing still each minute is bearable, what is lost with a host meanwhile may not be. */
const LONGEST_BACK_OFF_MS = 60_000

/** One volume's wish: a checkpoint every `targetMs`, each of which takes about `costMs`. */
export interface Wish {
  readonly key: string
  readonly targetMs: number
  readonly costMs: number
}

/**
 * How often each volume gets its checkpoints, so that all together take at most `share` of the time. Cheap ones get what they want; what is left is
 * shared evenly by the others, so that one large volume does not delay all of them. Times in milliseconds, by key.
 */
export function fairIntervals(wishes: readonly Wish[], share: number): ReadonlyMap<string, number> {
  const demand = ({ costMs, targetMs }: Wish) => costMs / targetMs
  const intervals = new Map<string, number>()
  let left = share
  const sorted = [...wishes].sort((a, b) => demand(a) - demand(b))
  for (const [index, wish] of sorted.entries()) {
    const fair = left / (sorted.length - index)
    const given = Math.min(demand(wish), fair)
    left -= given
    intervals.set(wish.key, demand(wish) <= fair ? wish.targetMs : wish.costMs / given)
  }
  return intervals
}

/** Time from the begin of one try to the next, after so many failures in a row. */
export function backOffMs(intervalMs: number, failures: number): number {
  if (failures === 0) return intervalMs
  return Math.max(intervalMs, Math.min(intervalMs * 2 ** failures, LONGEST_BACK_OFF_MS))
}
