import test from 'ava'
import { fairIntervals } from '../../../agent/mobility/checkpoint/demand.ts'
import { backOffMs } from '../../../agent/runtime/back-off.ts'

test('volumes whose checkpoints are cheap get what they ask for', (t) => {
  const demands = [
    { key: 'a', targetMs: 10_000, costMs: 100 },
    { key: 'b', targetMs: 5_000, costMs: 0 },
  ]
  t.deepEqual([...fairIntervals(demands, 0.2)].toSorted(), [
    ['a', 10_000],
    ['b', 5_000],
  ])
})

test('a volume that costs too much comes less often and delays no other', (t) => {
  const demands = [
    { key: 'large', targetMs: 10_000, costMs: 60_000 },
    { key: 'small', targetMs: 10_000, costMs: 500 },
  ]
  const intervals = fairIntervals(demands, 0.2)
  t.is(intervals.get('small'), 10_000)
  t.true(Math.abs((intervals.get('large') ?? 0) - 60_000 / 0.15) < 1)
})

test('all together take the share at most, however many they are', (t) => {
  for (let count = 1; count <= 50; count++) {
    const demands = Array.from({ length: count }, (_, n) => ({
      key: `${n}`,
      targetMs: 1_000 * (n + 1),
      costMs: 97 * n,
    }))
    const intervals = fairIntervals(demands, 0.2)
    const share = demands.reduce((sum, { key, costMs }) => sum + costMs / (intervals.get(key) ?? 0), 0)
    t.true(share <= 0.2 + 1e-9, `${count}: ${share}`)
    for (const { key, targetMs } of demands) t.true((intervals.get(key) ?? 0) >= targetMs)
  }
})

test('failed tries back off up to a minute, and never come sooner than the interval', (t) => {
  t.deepEqual(
    [0, 1, 2, 3, 4, 5, 60].map((failures) => backOffMs(10_000, failures)),
    [10_000, 20_000, 40_000, 60_000, 60_000, 60_000, 60_000],
  )
  t.is(backOffMs(3_600_000, 3), 3_600_000)
})
