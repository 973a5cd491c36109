import test from 'ava'
import { volumeRecord } from '../unit/registry/records.ts'
import { DataChecker } from './data-checker.ts'
import { Oracle } from './oracle.ts'
import { noTotals } from './totals.ts'
import { EMPTY, type Tree } from './tree.ts'
import type { SimWorld } from './world.ts'

const record = (number: number) => ({ number, host: 'h1', container: 'c', atMs: 0 })

/** Returns what the check says at the end of a run: h1 keeps `left` of the two records that a take-over gave up. */
function complaints(left: number, takenOutAt: string | null): string[] {
  const one = EMPTY.append(record(1))
  const whole = one.append(record(2))
  whole.acked = true
  const kept: Tree = left === 1 ? one : EMPTY
  const oracle = new Oracle()
  const volume = volumeRecord('data')
  oracle.add(volume)
  const truth = oracle.of(volume.id)
  truth?.abandoned.push({ host: null, tree: whole })
  if (takenOutAt !== null) truth?.takenOut.push({ host: takenOutAt, left: one, whole })
  const shelf = { tree: EMPTY, diverged: new Map([['1-1-0', kept]]) }
  const world = { machines: () => [{ host: 'h1', disk: { shelf: () => shelf } }] }
  const found: string[] = []
  const failed = (rule: string) => void found.push(rule)
  new DataChecker(world as unknown as SimWorld, { oracle, totals: noTotals(), failed }).finish()
  return found
}

test('a record that a take-over gave up has to be on a disk, unless somebody took it out of just that tree', (t) => {
  t.deepEqual(complaints(1, null), ['promise 7'])
  t.deepEqual(complaints(1, 'h1'), [])
  t.deepEqual(complaints(1, 'h2'), ['promise 7'])
  t.deepEqual(complaints(0, 'h1'), ['promise 7'])
})
