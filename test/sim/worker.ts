import { z } from 'zod'
import { settingsFor } from './mutation.ts'
import { SCENARIOS } from './scenarios.ts'
import { simulate } from './simulation.ts'
import { addTotals, noTotals } from './totals.ts'

const WORK = z.object({
  from: z.number(),
  count: z.number(),
  mutation: z.string().nullable(),
  scenarios: z.array(z.enum(SCENARIOS)),
})

// Errors are made by the thousand here. A replay of one seed has their stacks.
Error.stackTraceLimit = 0

/** Runs the seeds of each message and replies with their results, until the parent disconnects. */
process.on('message', async (message) => {
  const { from, count, mutation, scenarios } = WORK.parse(message)
  const answer = { seeds: 0, steps: 0, virtualMs: 0, failures: [] as object[], totals: noTotals() }
  for (let seed = from; seed < from + count; seed++) {
    const outcome = await simulate(seed, settingsFor(mutation, scenarios))
    answer.seeds++
    answer.steps += outcome.steps
    answer.virtualMs += outcome.virtualMs
    for (const { rule, text } of outcome.failures) answer.failures.push({ seed, rule, text })
    addTotals(answer.totals, outcome.totals)
  }
  process.send?.(answer)
})
