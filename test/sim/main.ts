import { parseArgs } from 'node:util'
import { z } from 'zod'
import { settingsFor } from './mutation.ts'
import { runSeeds } from './range.ts'
import { KINDS } from './scenarios.ts'
import type { Settings } from './settings.ts'
import { simulate } from './simulation.ts'

/** `npm run sim -- --seed N [--trace]` runs one seed, `-- --seeds COUNT [--from N]` a range of them. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
      seeds: { type: 'string' },
      from: { type: 'string', default: '1' },
      /** A rule to break, of mutation.ts. */
      mutation: { type: 'string' },
      /** What every run has, of kinds.ts: names with commas between. */
      kinds: { type: 'string', default: '' },
    },
  })
  const kinds = z.array(z.enum(KINDS)).parse(values.kinds.split(',').filter((kind) => kind !== ''))
  const settings = settingsFor(values.mutation ?? null, kinds)
  if (values.seed !== undefined) return runOne(Number(values.seed), values.trace, settings)
  if (values.seeds === undefined) {
    process.stderr.write('usage: npm run sim -- --seed N [--trace] | --seeds COUNT [--from N]\n')
    return 2
  }
  const report = await runSeeds({
    count: Number(values.seeds),
    from: Number(values.from),
    kinds,
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
  print(
    `seed ${seed}: ${outcome.steps} steps, ${(outcome.virtualMs / 1000).toFixed(1)} s in ${seconds} s, ${JSON.stringify(outcome.totals)}`,
  )
  return outcome.failures.length === 0 ? 0 : 1
}

process.exit(await main())
