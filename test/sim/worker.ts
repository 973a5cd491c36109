import { z } from 'zod'
import { settingsFor } from './mutation.ts'
import { KINDS } from './scenarios.ts'
import { simulate } from './simulation.ts'

const WORK = z.object({
  from: z.number(),
  count: z.number(),
  mutation: z.string().nullable(),
  kinds: z.array(z.enum(KINDS)),
})

// Errors are made by the thousand here, and who replays one seed gets their stacks.
Error.stackTraceLimit = 0

/** Runs the seeds it is told and answers with what they came to, until nobody tells it any more. */
process.on('message', async (message) => {
  const { from, count, mutation, kinds } = WORK.parse(message)
  const answer = { seeds: 0, steps: 0, virtualMs: 0, failures: [] as object[], totals: {} as Record<string, number> }
  for (let seed = from; seed < from + count; seed++) {
    const outcome = await simulate(seed, settingsFor(mutation, kinds))
    answer.seeds++
    answer.steps += outcome.steps
    answer.virtualMs += outcome.virtualMs
    for (const { rule, text } of outcome.failures) answer.failures.push({ seed, rule, text })
    for (const [key, value] of Object.entries(outcome.totals)) {
      answer.totals[key] = (answer.totals[key] ?? 0) + value
    }
  }
  process.send?.(answer)
})
