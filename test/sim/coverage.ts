import type { HostRecord } from '../../agent/model/model.ts'
import type { Truths } from './oracle.ts'
import type { Tree } from './tree.ts'
import type { World } from './world.ts'

/** Between a look at the clock and the freeze of a tree containers may write; what the freeze has of that is in it. */
const SLACK_MS = 500
/** A clock that was set between two looks at it says nothing. */
const SET_MS = 10 * 60_000

/**
 * Promise 5 while nothing is lost yet: what a heartbeat says of how far the other hosts' checkpoint covers a volume
 * must not be younger than the truth. Answers what is wrong with it; null: nothing is known to be.
 */
export function coverageFault(world: World, truths: Truths, { id: host, covered }: HostRecord): string | null {
  const { disk, clocks } = world.machine(host)
  for (const [id, { epoch, seq, hash, at }] of Object.entries(covered)) {
    const truth = truths.of(id)
    const shelf = disk.shelf(id)
    const isHolder = truth?.record.holder?.incarnation === shelf?.record.held?.incarnation && !truth?.isOver
    const coveredMs = clocks.trueMs(new Date(at))
    if (truth === undefined || shelf === undefined || !isHolder) continue
    if (Math.abs(world.timeline.nowMs - coveredMs) > SET_MS) continue
    const tree = hash === undefined ? undefined : truth.trees.get(hash)
    if (tree === undefined || !tree.isPrefixOf(shelf.tree)) continue
    const missing = firstAfter(shelf.tree, tree.length)
    if (missing === null || missing > coveredMs - SLACK_MS) continue
    const late = ((coveredMs - missing) / 1_000).toFixed(1)
    return `${host} says that ${epoch}.${seq} covers ${truth.name} up to a moment ${late} s after a write that it lacks`
  }
  return null
}

/** When the first record after so many was written; null: there is none. */
function firstAfter(tree: Tree, length: number): number | null {
  let at: Tree | null = tree
  while (at !== null && at.length > length + 1) at = at.before
  return at?.length === length + 1 ? (at.entry?.atMs ?? null) : null
}
