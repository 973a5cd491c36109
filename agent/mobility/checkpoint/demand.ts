/** What one volume asks for: a checkpoint every `targetMs`, each of which takes about `costMs`. */
export interface Demand {
  readonly key: string
  readonly targetMs: number
  readonly costMs: number
}

/**
 * Returns the interval between checkpoints of each volume, in milliseconds, by key.
 * All together take at most `share` of the time. Volumes with a small load get what they ask for. The others share the
 * rest evenly, so that one large volume does not delay all of them.
 */
export function fairIntervals(demands: readonly Demand[], share: number): ReadonlyMap<string, number> {
  const loadOf = ({ costMs, targetMs }: Demand) => costMs / targetMs
  const intervals = new Map<string, number>()
  let left = share
  const sorted = [...demands].sort((a, b) => loadOf(a) - loadOf(b))
  for (const [index, demand] of sorted.entries()) {
    const fair = left / (sorted.length - index)
    const given = Math.min(loadOf(demand), fair)
    left -= given
    intervals.set(demand.key, loadOf(demand) <= fair ? demand.targetMs : demand.costMs / given)
  }
  return intervals
}
