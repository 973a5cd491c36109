import type { LabReport } from './lab-report.ts'
import type { Move, PowerCut } from './moves.ts'
import { number, rounded, table } from './report.ts'
import { median } from './result.ts'

/** All moves of one volume. */
export interface SizeResult {
  readonly gigabytes: number
  readonly planned: readonly Move[]
  /** A planned move to a host that was rebooted since it got its copy. */
  readonly rebooted: Move & { readonly returnSeconds: number }
  readonly unplanned: readonly PowerCut[]
}

const ABOUT = `Seconds without an answer, medians, and their parts in order:
stop   the old PostgreSQL answers no more, until its container has ended
notice Swarm calls the node down and places a task elsewhere
ask    until Docker asks for the volume there (Swarm waits 5 s before it starts a task anew)
mount  Docker waits for Wherry
start  the new container's start and PostgreSQL's, with its recovery`

const PARTS = ['stop', 'notice', 'ask', 'mount', 'start']

export function failoverReport(results: readonly SizeResult[]): LabReport {
  const rows = results.flatMap(({ gigabytes, planned, rebooted, unplanned }) => [
    row(`planned, ${gigabytes} GB`, planned),
    row(`planned, after a reboot there, ${gigabytes} GB`, [rebooted]),
    row(`power cut, ${gigabytes} GB`, unplanned),
  ])
  const moves = `${ABOUT}\n\n${table(['move', 'rounds', 'blackout s', ...PARTS, 'worst s'], rows)}`
  const losses = results.flatMap(({ gigabytes, unplanned }) =>
    unplanned.map(({ ageSeconds, rowsLost, returnSeconds }) => [
      `${gigabytes} GB`,
      ...[ageSeconds, rowsLost, returnSeconds].map(number),
    ]),
  )
  const head = ['power cut', 'checkpoint age s, as said', 'rows lost', 's until the old host has a copy again']
  const figures = Object.assign({}, ...results.map(figuresOf)) as Record<string, unknown>
  return { text: `${moves}\n\n${table(head, losses)}`, figures }
}

function row(what: string, moves: readonly Move[]): string[] {
  const blackouts = moves.map(({ blackoutSeconds }) => blackoutSeconds)
  const parts = PARTS.map((part) => (moves[0]?.parts[part] === undefined ? '-' : number(partOf(moves, part))))
  return [what, String(moves.length), number(median(blackouts)), ...parts, number(Math.max(...blackouts))]
}

function figuresOf({ gigabytes, planned, rebooted, unplanned }: SizeResult): Record<string, unknown> {
  const size = `${gigabytes}gb`
  return {
    [`planned_${size}_s`]: blackoutOf(planned),
    [`planned_${size}_mount_s`]: rounded(partOf(planned, 'mount')),
    [`planned_${size}_rounds`]: planned.length,
    [`planned_${size}_after_reboot_s`]: blackoutOf([rebooted]),
    [`planned_${size}_after_reboot_mount_s`]: rounded(partOf([rebooted], 'mount')),
    [`unplanned_${size}_s`]: {
      blackout: blackoutOf(unplanned),
      swarm: rounded(
        median(unplanned.map(({ parts }) => ['notice', 'ask'].reduce((sum, part) => sum + (parts[part] ?? 0), 0))),
      ),
      mount: rounded(partOf(unplanned, 'mount')),
      start: rounded(partOf(unplanned, 'start')),
      rounds: unplanned.length,
      age_max: rounded(Math.max(...unplanned.map(({ ageSeconds }) => ageSeconds))),
      rows_lost_max: Math.max(...unplanned.map(({ rowsLost }) => rowsLost)),
      return_s: rounded(median(unplanned.map(({ returnSeconds }) => returnSeconds))),
    },
  }
}

function blackoutOf(moves: readonly Move[]): number {
  return rounded(median(moves.map(({ blackoutSeconds }) => blackoutSeconds)))
}

function partOf(moves: readonly Move[], part: string): number {
  return median(moves.map(({ parts }) => parts[part] ?? 0))
}
