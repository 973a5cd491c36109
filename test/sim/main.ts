import { parseArgs } from 'node:util'
import { z } from 'zod'
import { settingsFor } from './mutation.ts'
import { runSeeds } from './range.ts'
import { SCENARIOS } from './scenarios.ts'
import type { Settings } from './settings.ts'
import { simulate } from './simulation.ts'

const USAGE = `usage: npm run sim -- --seed N [--trace] | --seeds COUNT [--from N]
  [--mutation NAME] [--scenarios NAME,NAME...]
`

/** Runs one seed, or a range of them. Returns the exit code: 1 when a run failed. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
      seeds: { type: 'string' },
      from: { type: 'string', default: '1' },
      /** A rule to break, by its name in mutation.ts. */
      mutation: { type: 'string' },
      /** What every run has: names of scenarios.ts, with commas between. */
      scenarios: { type: 'string', default: '' },
    },
  })
  const scenarios = z.array(z.enum(SCENARIOS)).parse(values.scenarios.split(',').filter((kind) => kind !== ''))
  const settings = settingsFor(values.mutation ?? null, scenarios)
  if (values.seed !== undefined) return runOne(Number(values.seed), values.trace, settings)
  if (values.seeds === undefined) {
    process.stderr.write(USAGE)
    return 2
  }
  const report = await runSeeds({
    count: Number(values.seeds),
    from: Number(values.from),
    scenarios,
    ...(values.mutation === undefined ? {} : { mutation: values.mutation }),
  })
  for (const { seed, rule, text } of report.failures) process.stdout.write(`seed ${seed}: ${rule}: ${text}\n`)
  process.stdout.write(`${report.line}\n`)
  return report.failures.length === 0 ? 0 : 1
}

async function runOne(seed: number, traced: boolean, settings: Settings): Promise<number> {
  const started = performance.now()
  const print = (line: string) => void process.stdout.write(`${line}\n`)
  const outcome = await simulate(seed, settings, traced ? print : null)
  for (const { atMs, rule, text } of outcome.failures) print(`${(atMs / 1000).toFixed(3)} s: ${rule}: ${text}`)
  const seconds = ((performance.now() - started) / 1000).toFixed(2)
  const virtualSeconds = (outcome.virtualMs / 1000).toFixed(1)
  const totals = JSON.stringify(outcome.totals)
  print(`seed ${seed}: ${outcome.steps} steps, ${virtualSeconds} s in ${seconds} s, ${totals}`)
  return outcome.failures.length === 0 ? 0 : 1
}

process.exit(await main())
