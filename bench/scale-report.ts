import type { LabReport } from './lab-report.ts'

/** What one minute has shown. */
export interface ScaleFigures {
  /** Messages a second, each agent. */
  readonly sent: number
  readonly received: number
  /** A second, from all servers together. */
  readonly megabytes: number
  /** Parts of a core: each agent, each server. */
  readonly agentCpu: number
  readonly serverCpu: number
  /** Renewals of leases that were acknowledged, a second. */
  readonly renewals: number
  readonly medianMs: number
  readonly p99Ms: number
}

const ROWS: readonly (readonly [string, (figures: ScaleFigures) => string])[] = [
  ['requests and writes a second, each agent', ({ sent }) => sent.toFixed(1)],
  ['messages received a second, each agent', ({ received }) => received.toFixed(0)],
  ['MB a second sent by the servers', ({ megabytes }) => megabytes.toFixed(1)],
  ['CPU of one core, each agent', ({ agentCpu }) => `${(agentCpu * 100).toFixed(2)} %`],
  ['CPU of one core, each server', ({ serverCpu }) => `${(serverCpu * 100).toFixed(0)} %`],
  ['leases renewed a second', ({ renewals }) => renewals.toFixed(0)],
  ['renewal, median', ({ medianMs }) => `${medianMs.toFixed(0)} ms`],
  ['renewal, 99th percentile', ({ p99Ms }) => `${p99Ms.toFixed(0)} ms`],
]

/** Returns the table of the bench. */
export function describeScale(
  size: { hosts: number; volumes: number; changes: number },
  idle: ScaleFigures,
  busy: ScaleFigures,
): LabReport {
  const { hosts, volumes, changes } = size
  const lines = [
    `${hosts} agents, ${volumes} volumes with two copies each, three nats-servers`,
    '',
    `| what | nothing changes | ${changes} changes a second |`,
    '| --- | --- | --- |',
    ...ROWS.map(([what, show]) => `| ${what} | ${show(idle)} | ${show(busy)} |`),
  ]
  return { text: lines.join('\n'), figures: { ...size, idle, busy } }
}
