import { FLAGS_IN_THE_WAY } from '../inode/flags.ts'
import type { Plan } from '../manifest/plan.ts'

/**
 * Returns directories of the target (by index) in which a name comes, goes or gets another inode: their mtime
 * moves.
 */
export function touchedDirectories(plan: Plan): Set<number> {
  const { target, mine, removed } = plan
  const touched = new Set<number>()
  for (const index of plan.all('file', 'make', 'link')) touched.add(target.parent(index))
  if (removed.length === 0) return touched
  const losing = new Set(removed.map((index) => mine.parent(index)))
  for (let index = 0; index < target.count; index++) {
    if (target.kind(index) === 'dir' && losing.has(plan.partner(index))) touched.add(index)
  }
  return touched
}

/**
 * Returns entries of this host's tree (by index) that are immutable or append-only and in the way.
 * They go or change, names in them do, or they have several names, any of which may come or go. The kernel refuses
 * to link and unlink such an inode.
 */
export function unlockedEntries(plan: Plan, touched: ReadonlySet<number>): Set<number> {
  const { target, mine, removed } = plan
  const locked = new Set<number>()
  const unlocked = new Set<number>()
  for (let index = 0; index < mine.count; index++) {
    if ((mine.flags(index) & FLAGS_IN_THE_WAY) !== 0) locked.add(index)
  }
  if (locked.size === 0) return unlocked
  const unlock = (index: number) => {
    if (locked.has(index)) unlocked.add(index)
  }
  removed.forEach(unlock)
  for (let index = 0; index < mine.count; index++) {
    const body = mine.kind(index) === 'link' ? mine.body(index) : null
    if (body?.kind === 'link') unlock(body.to)
  }
  for (let index = 0; index < target.count; index++) {
    const named = target.kind(index) === 'link' ? target.body(index) : null
    if (named?.kind === 'link') unlock(plan.partner(named.to))
    if (plan.step(index) !== 'keep' || touched.has(index)) unlock(plan.partner(index))
  }
  return unlocked
}
