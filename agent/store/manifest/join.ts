import type { Manifest } from './manifest.ts'

/** One path of two manifests: index in `a` and in `b`; -1: it is not there. */
export interface Pair {
  readonly a: number
  readonly b: number
}

/** Walks two manifests side by side, in tree order. */
export function* joinManifests(a: Manifest, b: Manifest): Generator<Pair> {
  let [i, j] = [0, 0]
  while (i < a.count || j < b.count) {
    const order = orderOf(a, i, b, j)
    yield { a: order <= 0 ? i : -1, b: order >= 0 ? j : -1 }
    if (order <= 0) i++
    if (order >= 0) j++
  }
}

/**
 * Returns which of two entries comes first.
 * A deeper one is in a directory that the other walk has left.
 */
function orderOf(a: Manifest, i: number, b: Manifest, j: number): number {
  if (i >= a.count) return 1
  if (j >= b.count) return -1
  const [da, db] = [a.depth(i), b.depth(j)]
  return da === db ? a.compareNames(i, b, j) : db - da
}
