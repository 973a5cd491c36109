import test from 'ava'
import { runSeeds } from './range.ts'
import { simulate } from './simulation.ts'

/** As many as run within a few minutes on two cores. */
const SEEDS = 20_000
/** Their traces are compared: enough to meet every kind of fault. */
const REPLAYED = 10

test.serial('a seed replays exactly: the same trace, line by line', async (t) => {
  for (let seed = 1; seed <= REPLAYED; seed++) {
    const [first, second]: [string[], string[]] = [[], []]
    await simulate(seed, undefined, (line) => first.push(line))
    await simulate(seed, undefined, (line) => second.push(line))
    t.true(first.length > 10)
    t.deepEqual(first, second)
  }
})

test.serial(
  'promises 1 to 8, 10, 11 and 14: hold in every simulated cluster, and all is well again in the end',
  async (t) => {
    t.timeout(600_000)
    const { failures, line } = await runSeeds({ count: SEEDS, from: 1 })
    t.log(line)
    t.deepEqual(failures.slice(0, 10), [], 'replay with: npm run sim -- --seed N --trace')
  },
)
