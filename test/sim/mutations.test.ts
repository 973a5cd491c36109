import test from 'ava'
import { MUTATIONS } from './mutation.ts'
import { runSeeds } from './range.ts'

/** Within so many seeds each broken rule has to show. */
const SEEDS = 3_000

for (const { name, rules } of MUTATIONS) {
  test.serial(`the checker can fail: ${name} is found`, async (t) => {
    t.timeout(300_000)
    const { failures, line } = await runSeeds({ count: SEEDS, from: 1, mutation: name, rules })
    t.true(
      failures.some(({ rule }) => rules.includes(rule)),
      line,
    )
  })
}
