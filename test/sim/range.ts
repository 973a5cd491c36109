import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { Scenario } from './scenarios.ts'
import { addTotals, noTotals, TOTALS, type Totals } from './totals.ts'

/** Seeds per batch: enough to hide the cost of messages, few enough that all workers end at the same time. */
const BATCH = 25

export interface SeedFailure {
  readonly seed: number
  readonly rule: string
  readonly text: string
}

export interface Report {
  readonly failures: readonly SeedFailure[]
  readonly seeds: number
  readonly steps: number
  readonly virtualMs: number
  readonly totals: Totals
  /** One line to print. */
  readonly line: string
}

const ANSWER = z.object({
  seeds: z.number(),
  steps: z.number(),
  virtualMs: z.number(),
  failures: z.array(z.object({ seed: z.number(), rule: z.string(), text: z.string() })),
  totals: TOTALS,
})

/**
 * Runs a range of seeds in processes of their own, one per core. `mutation` names a rule to break (mutation.ts),
 * `scenarios` what every run has (scenarios.ts). With `rules` it ends with the first violation of one of them. Rejects
 * when a worker ends on its own.
 */
export async function runSeeds(range: {
  count: number
  from: number
  mutation?: string
  scenarios?: readonly Scenario[]
  rules?: readonly string[]
}): Promise<Report> {
  const startMs = performance.now()
  const sum = { seeds: 0, steps: 0, virtualMs: 0, totals: noTotals(), failures: [] as SeedFailure[] }
  let next = range.from
  const endSeed = range.from + range.count
  const take = () => {
    const found = sum.failures.some(({ rule }) => range.rules?.includes(rule))
    if (found || next >= endSeed) return null
    const from = next
    next = Math.min(endSeed, next + BATCH)
    return { from, count: next - from, mutation: range.mutation ?? null, scenarios: range.scenarios ?? [] }
  }
  const collect = (message: unknown) => {
    const answer = ANSWER.parse(message)
    sum.seeds += answer.seeds
    sum.steps += answer.steps
    sum.virtualMs += answer.virtualMs
    sum.failures.push(...answer.failures)
    addTotals(sum.totals, answer.totals)
  }
  const workers = Math.min(availableParallelism(), Math.ceil(range.count / BATCH))
  await Promise.all(Array.from({ length: workers }, () => runWorker(take, collect)))
  sum.failures.sort((a, b) => a.seed - b.seed)
  const seconds = (performance.now() - startMs) / 1000
  const failed = new Set(sum.failures.map(({ seed }) => seed))
  const counts = Object.entries(sum.totals).map(([key, value]) => `${value} ${key}`)
  const hours = (sum.virtualMs / 3_600_000).toFixed(1)
  const seeds = failed.size === 0 ? '' : ` (${[...failed].slice(0, 20).join(' ')})`
  const time = `${hours} h of virtual time in ${seconds.toFixed(1)} s`
  const line = `${sum.seeds} seeds, ${failed.size} failed${seeds}; ${time}; ${counts.join(', ')}`
  return { ...sum, line }
}

/** Runs one worker, and gives it work until there is none. */
function runWorker(take: () => unknown, collect: (message: unknown) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), { stdio: 'inherit' })
    const give = () => {
      const work = take()
      if (work === null) child.disconnect()
      else child.send(work as object)
    }
    child.on('message', (message) => {
      collect(message)
      give()
    })
    child.on('error', reject)
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a worker ended with ${code}`))))
    give()
  })
}
