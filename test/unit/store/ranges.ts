/** From a byte up to, not including, another; lists are in order and do not overlap. */
export type Range = readonly [start: number, end: number]

/** Widens each range to whole units and joins those that then touch. */
export function roundedOut(ranges: readonly Range[], unitBytes: number): Range[] {
  const joined: [number, number][] = []
  for (const [from, to] of ranges) {
    const [start, end] = [Math.floor(from / unitBytes) * unitBytes, Math.ceil(to / unitBytes) * unitBytes]
    const last = joined.at(-1)
    if (last !== undefined && start <= last[1]) last[1] = Math.max(last[1], end)
    else joined.push([start, end])
  }
  return joined
}

/** What of `ranges` lies in none of `holes`. */
export function without(ranges: readonly Range[], holes: readonly Range[]): Range[] {
  const left: Range[] = []
  for (const [from, end] of ranges) {
    let start = from
    for (const [holeStart, holeEnd] of holes) {
      if (holeEnd <= start || holeStart >= end) continue
      if (holeStart > start) left.push([start, holeStart])
      start = holeEnd
    }
    if (start < end) left.push([start, end])
  }
  return left
}
