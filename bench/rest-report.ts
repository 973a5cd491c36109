import type { LabReport } from './lab-report.ts'
import { table } from './report.ts'
import { median } from './result.ts'

/** The parts of Wherry on a host; each is one process. */
export const PARTS = ['entrypoint', 'plugin', 'agent', 'nats-server'] as const
export type Part = (typeof PARTS)[number]

/** Memory and CPU of one idle host. */
export interface HostAtRest {
  readonly pssBytes: Readonly<Record<Part, number>>
  /** Share of one core. */
  readonly cpuShare: Readonly<Record<Part, number>>
}

/** Seconds of one start each. */
export interface Starts {
  /** `docker plugin enable`, until it returns: the socket replies. */
  readonly enable: readonly number[]
  /** The plugin's process is killed, until its socket replies again. */
  readonly plugin: readonly number[]
  /** The plugin's process is killed, until the API of its next agent replies. */
  readonly agent: readonly number[]
}

/** Floors and goals for one host. */
const MEMORY_FLOOR_MB = 200
const MEMORY_GOAL_MB = 120
const CPU_FLOOR_PERCENT = 1.5
const CPU_GOAL_PERCENT = 0.5

const MB = 1e6

export function restReport(hosts: readonly HostAtRest[], starts: Starts): LabReport {
  const memory = (part: Part) => median(hosts.map(({ pssBytes }) => pssBytes[part])) / MB
  const cpu = (part: Part) => 100 * median(hosts.map(({ cpuShare }) => cpuShare[part]))
  const memoryTotal = sum(PARTS.map(memory))
  const cpuTotal = sum(PARTS.map(cpu))
  const rows = PARTS.map((part) => [part, memory(part).toFixed(1), cpu(part).toFixed(2)])
  const text = [
    table(['process', 'PSS MB', 'CPU %'], [...rows, ['together', memoryTotal.toFixed(1), cpuTotal.toFixed(2)]]),
    `Medians of ${hosts.length} hosts. Memory: floor ${MEMORY_FLOOR_MB} MB, goal ${MEMORY_GOAL_MB} MB. ` +
      `CPU of one core: floor ${CPU_FLOOR_PERCENT} %, goal ${CPU_GOAL_PERCENT} %.`,
    '',
    table(
      ['start', 'rounds', 'median s', 'worst s'],
      [
        ['docker plugin enable', starts.enable],
        ['plugin killed, until its socket replies', starts.plugin],
        ["plugin killed, until its agent's API replies", starts.agent],
      ].map(([what, seconds]) => startRow(what as string, seconds as readonly number[])),
    ),
  ].join('\n')
  const figures = {
    pss_mb: { ...byPart(memory, 1), together: round(memoryTotal, 1) },
    cpu_percent: { ...byPart(cpu, 2), together: round(cpuTotal, 2) },
    start_s: {
      enable: round(median(starts.enable), 3),
      plugin: round(median(starts.plugin), 3),
      agent: round(median(starts.agent), 3),
    },
    hosts: hosts.map(({ pssBytes, cpuShare }) => ({
      pss_mb: round(sum(Object.values(pssBytes)) / MB, 1),
      cpu_percent: round(100 * sum(Object.values(cpuShare)), 2),
    })),
  }
  return { text, figures }
}

function startRow(what: string, seconds: readonly number[]): string[] {
  return [what, String(seconds.length), median(seconds).toFixed(3), Math.max(...seconds).toFixed(3)]
}

function byPart(value: (part: Part) => number, digits: number): Record<string, number> {
  return Object.fromEntries(PARTS.map((part) => [part, round(value(part), digits)]))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
