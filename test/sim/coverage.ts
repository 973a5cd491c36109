import type { HostRecord } from '../../agent/model/model.ts'
import type { Oracle } from './oracle.ts'
import type { Tree } from './tree.ts'
import type { SimWorld } from './world.ts'

/** Containers may write between the reading of the clock and the freeze: the freeze includes that. */
const SLACK_MS = 500
/** A clock that was set in between proves nothing. */
const SET_MS = 10 * 60_000

/**
 * Checks promise 5 while nothing is lost: a heartbeat must not claim that the other hosts' checkpoint covers a volume
 * longer than it does. Returns what is wrong; null: nothing is known to be.
 */
export function coverageFault(world: SimWorld, oracle: Oracle, { id: host, covered }: HostRecord): string | null {
  const { disk, clocks } = world.machine(host)
  for (const [id, { epoch, seq, hash, at }] of Object.entries(covered)) {
    const truth = oracle.of(id)
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

/** When the first record after the first `length` was written; null: there is none. */
function firstAfter(tree: Tree, length: number): number | null {
  let at: Tree | null = tree
  while (at !== null && at.length > length + 1) at = at.before
  return at?.length === length + 1 ? (at.entry?.atMs ?? null) : null
}
