import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import type { Totals } from './checker.ts'
import type { Kind } from './scenarios.ts'

/** Seeds per piece of work: long enough to hide the talk with the workers, short enough that all end at the same time. */
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
  /** One line for people. */
  readonly line: string
}

const ANSWER = z.object({
  seeds: z.number(),
  steps: z.number(),
  virtualMs: z.number(),
  failures: z.array(z.object({ seed: z.number(), rule: z.string(), text: z.string() })),
  totals: z.record(z.string(), z.number()),
})

/**
 * Runs a range of seeds in processes of their own, one per core. `mutation` names a broken rule (mutation.ts), `kinds` what every run has (kinds.ts). With `rules`
 * it ends with the first failure of one of them. Rejects when a process ends on its own.
 */
export async function runSeeds(range: {
  count: number
  from: number
  mutation?: string
  kinds?: readonly Kind[]
  rules?: readonly string[]
}): Promise<Report> {
  const startMs = performance.now()
  const sum = { seeds: 0, steps: 0, virtualMs: 0, totals: {} as Record<string, number>, failures: [] as SeedFailure[] }
  let next = range.from
  const endSeed = range.from + range.count
  const take = () => {
    const found = sum.failures.some(({ rule }) => range.rules?.includes(rule))
    if (found || next >= endSeed) return null
    const from = next
    next = Math.min(endSeed, next + BATCH)
    return { from, count: next - from, mutation: range.mutation ?? null, kinds: range.kinds ?? [] }
  }
  const collect = (message: unknown) => {
    const answer = ANSWER.parse(message)
    sum.seeds += answer.seeds
    sum.steps += answer.steps
    sum.virtualMs += answer.virtualMs
    sum.failures.push(...answer.failures)
    for (const [key, value] of Object.entries(answer.totals)) sum.totals[key] = (sum.totals[key] ?? 0) + value
  }
  const workers = Math.min(availableParallelism(), Math.ceil(range.count / BATCH))
  await Promise.all(Array.from({ length: workers }, () => runWorker(take, collect)))
  sum.failures.sort((a, b) => a.seed - b.seed)
  const seconds = (performance.now() - startMs) / 1000
  const failed = new Set(sum.failures.map(({ seed }) => seed))
  const counts = Object.entries(sum.totals).map(([key, value]) => `${value} ${key}`)
  const hours = (sum.virtualMs / 3_600_000).toFixed(1)
  const seeds = failed.size === 0 ? '' : ` (${[...failed].slice(0, 20).join(' ')})`
  const line = `${sum.seeds} seeds, ${failed.size} failed${seeds}; ${hours} h of virtual time in ${seconds.toFixed(1)} s; ${counts.join(', ')}`
  return { ...sum, totals: sum.totals as unknown as Totals, line }
}

/** One process, given work until there is none. */
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
