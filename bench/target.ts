import { number, table } from './report.ts'

/** What is asked of a figure. */
export interface Target {
  readonly what: string
  readonly value: number
  readonly better: 'more' | 'less'
  /** Null: nothing is. */
  readonly floor: number | null
  readonly goal: number | null
}

export function floorsMet(targets: readonly Target[]): boolean {
  return targets.every((target) => target.floor === null || meets(target, target.floor))
}

export function targetsTable(targets: readonly Target[]): string {
  const verdict = (target: Target, asked: number | null) =>
    asked === null ? ['-', ''] : [String(asked), meets(target, asked) ? 'ok' : 'missed']
  const rows = targets.map((target) => [
    target.what,
    number(target.value),
    ...verdict(target, target.floor),
    ...verdict(target, target.goal),
  ])
  return table(['figure', 'measured', 'floor', '', 'goal', ''], rows)
}

/** What was not measured (NaN) meets nothing. */
function meets({ value, better }: Target, asked: number): boolean {
  return better === 'more' ? value >= asked : value <= asked
}
