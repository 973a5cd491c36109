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
  /** Between one checkpoint and the next. */
  readonly gapsSeconds: readonly number[]
  /** Why files that changed were read whole, as the agent said meanwhile; empty: the kernel told what changed. */
  readonly scanned: readonly string[]
  /** Why tries failed: of several in a row the first. */
  readonly failures: readonly string[]
}

export interface CheckpointTurns {
  readonly on: readonly Turn[]
  readonly off: readonly Turn[]
}

/** How much there is, and how often a checkpoint of it is wanted. */
export interface Load {
  readonly pgbenchScale: number
  readonly checkpointSeconds: number
}

export function checkpointReport(load: Load, turns: CheckpointTurns): LabReport {
  const figures = checkpointFigures(turns)
  const { pgbench_ratio: ratio } = figures
  const verdict = ratio >= GOAL_RATIO ? 'ok' : 'missed'
  const what = `pgbench with checkpoints every ${load.checkpointSeconds} s`
  const line = `${what}: ${ratio.toFixed(3)} times the throughput without (goal ${GOAL_RATIO}: ${verdict})`
  return { text: `${checkpointTables(load, turns)}\n\n${line}`, figures }
}

/** All that was measured, without a verdict. */
export function checkpointTables(load: Load, { on, off }: CheckpointTurns): string {
  const pauses = on.flatMap(({ pausesMs }) => pausesMs)
  const failures = on.flatMap((turn) => turn.failures)
  const reasons = [...new Set(on.flatMap(({ scanned }) => scanned))]
  return [
    turnsTable(load, on, off),
    spreadTable(on),
    `Checkpoints: ${pauses.length} taken, ${failures.length} failed${failures.map((why) => `\n  ${why}`).join('')}`,
    reasons.length === 0 ? 'The kernel told what changed.' : `Changed files were read whole: ${reasons.join('; ')}`,
  ].join('\n\n')
}

export function checkpointFigures({ on, off }: CheckpointTurns) {
  const ratio = median(on.map(({ tps }) => tps)) / median(off.map(({ tps }) => tps))
  const pauses = on.flatMap(({ pausesMs }) => pausesMs)
  const ages = on.flatMap(({ agesSeconds }) => agesSeconds)
  const mean = (pick: (turn: Turn) => number) => rounded(on.reduce((sum, turn) => sum + pick(turn), 0) / on.length)
  return {
    pgbench_ratio: rounded(ratio),
    tps_on: rounded(median(on.map(({ tps }) => tps))),
    tps_off: rounded(median(off.map(({ tps }) => tps))),
    checkpoints: pauses.length,
    failures: on.flatMap((turn) => turn.failures).length,
    tracked: on.every(({ scanned }) => scanned.length === 0),
    pause_median_ms: median(pauses),
    pause_max_ms: percentile(pauses, 1),
    age_median_s: rounded(median(ages)),
    age_p99_s: rounded(percentile(ages, 0.99)),
    age_max_s: rounded(percentile(ages, 1)),
    interval_median_s: rounded(median(on.flatMap(({ gapsSeconds }) => gapsSeconds))),
    interval_max_s: rounded(Math.max(...on.map(({ intervalSeconds }) => intervalSeconds))),
    agent_cpu_share_holder: mean(({ cpuShare }) => cpuShare.holder),
    agent_cpu_share_others: mean(({ cpuShare }) => cpuShare.others),
  }
}

function turnsTable({ checkpointSeconds }: Load, on: readonly Turn[], off: readonly Turn[]): string {
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
  const about = "CPU: agents' CPU seconds per second; interval: the longest that the agent wanted"
  return `Throughput with checkpoints every ${checkpointSeconds} s and without (${about})\n${table(head, rows)}`
}

function spreadTable(turns: readonly Turn[]): string {
  const shares = [0.5, 0.9, 0.99, 1]
  const row = (what: string, pick: (turn: Turn) => readonly number[]) => {
    const values = turns.flatMap(pick)
    return [what, ...shares.map((share) => number(percentile(values, share)))]
  }
  const rows = [
    row('pause ms', ({ pausesMs }) => pausesMs),
    row('age of the newest checkpoint s', ({ agesSeconds }) => agesSeconds),
    row('from one checkpoint to the next s', ({ gapsSeconds }) => gapsSeconds),
  ]
  return table(['', 'median', '90 %', '99 %', 'max'], rows)
}
