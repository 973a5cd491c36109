/** One volume's wish: a checkpoint every `targetMs`, each of which takes about `costMs`. */
export interface Demand {
  readonly key: string
  readonly targetMs: number
  readonly costMs: number
}

/**
 * How often each volume gets its checkpoints, so that all together take at most `share` of the time. Cheap ones get what they want; what is left is
 * shared evenly by the others, so that one large volume does not delay all of them. Times in milliseconds, by key.
 */
export function fairIntervals(wishes: readonly Demand[], share: number): ReadonlyMap<string, number> {
  const demand = ({ costMs, targetMs }: Demand) => costMs / targetMs
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
