import type { LabReport } from './lab-report.ts'
import { number, rounded, table } from './report.ts'
import { median, percentile } from './result.ts'

const GOAL_RATIO = 0.95

/** pgbench for a while on one of the two databases, the other at rest. */
export interface Turn {
  readonly tps: number
  /** CPU seconds per second of the agents: the holder's, and all others' together. */
  readonly cpuShare: { readonly holder: number; readonly others: number }
  readonly pausesMs: readonly number[]
  /** Samples: for how long writes had not been on another host, by what the agent says. */
  readonly agesSeconds: readonly number[]
  /** The longest time between two checkpoints that the agent wanted, to keep to its share of the machine. */
  readonly intervalSeconds: number
  /** Why tries failed: of several in a row the first. */
  readonly failures: readonly string[]
}

export function checkpointReport(on: readonly Turn[], off: readonly Turn[]): LabReport {
  const ratio = median(on.map(({ tps }) => tps)) / median(off.map(({ tps }) => tps))
  const pauses = on.flatMap(({ pausesMs }) => pausesMs)
  const ages = on.flatMap(({ agesSeconds }) => agesSeconds)
  const failures = on.flatMap((turn) => turn.failures)
  const text = [
    turnsTable(on, off),
    spreadTable(pauses, ages),
    `pgbench with checkpoints every 10 s: ${ratio.toFixed(3)} times the throughput without (goal ${GOAL_RATIO}: ${ratio >= GOAL_RATIO ? 'ok' : 'missed'})`,
    `Checkpoints: ${pauses.length} taken, ${failures.length} failed${failures.map((why) => `\n  ${why}`).join('')}`,
  ].join('\n\n')
  const mean = (pick: (turn: Turn) => number) => rounded(on.reduce((sum, turn) => sum + pick(turn), 0) / on.length)
  const figures = {
    pgbench_ratio: rounded(ratio),
    tps_on: rounded(median(on.map(({ tps }) => tps))),
    tps_off: rounded(median(off.map(({ tps }) => tps))),
    checkpoints: pauses.length,
    failures: failures.length,
    pause_median_ms: median(pauses),
    pause_max_ms: percentile(pauses, 1),
    age_median_s: rounded(median(ages)),
    age_p99_s: rounded(percentile(ages, 0.99)),
    age_max_s: rounded(percentile(ages, 1)),
    interval_max_s: rounded(Math.max(...on.map(({ intervalSeconds }) => intervalSeconds))),
    agent_cpu_share_holder: mean(({ cpuShare }) => cpuShare.holder),
    agent_cpu_share_others: mean(({ cpuShare }) => cpuShare.others),
  }
  return { text, figures }
}

function turnsTable(on: readonly Turn[], off: readonly Turn[]): string {
  const head = [
    'round',
    'tps on',
    'tps off',
    'ratio',
    'CPU holder on',
    'others on',
    'holder off',
    'others off',
    'interval s',
  ]
  const rows = on.map((turn, index) => {
    const other = off[index] ?? turn
    return [
      String(index + 1),
      number(turn.tps),
      number(other.tps),
      (turn.tps / other.tps).toFixed(3),
      ...[turn, other].flatMap(({ cpuShare }) => [cpuShare.holder.toFixed(2), cpuShare.others.toFixed(2)]),
      number(turn.intervalSeconds),
    ]
  })
  return `Throughput with checkpoints every 10 s and without (CPU: agents' CPU seconds per second)\n${table(head, rows)}`
}

function spreadTable(pauses: readonly number[], ages: readonly number[]): string {
  const shares = [0.5, 0.9, 0.99, 1]
  const row = (what: string, values: readonly number[]) => [
    what,
    ...shares.map((share) => number(percentile(values, share))),
  ]
  const head = ['', 'median', '90 %', '99 %', 'max']
  return table(head, [row('pause ms', pauses), row('age of the newest checkpoint s', ages)])
}
