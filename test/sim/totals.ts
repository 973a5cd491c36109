import { z } from 'zod'

const COUNT = z.number().default(0)

/** Counted over a run, for the line of totals. */
export const TOTALS = z.object({
  mounts: COUNT,
  seizures: COUNT,
  fences: COUNT,
  writes: COUNT,
  lost: COUNT,
  checkpoints: COUNT,
  /** Copies that were taken off their record. */
  dropped: COUNT,
  /** Volumes that were removed. */
  removed: COUNT,
  /** Removals that did without the volume's holder. */
  givenUp: COUNT,
})

export type Totals = z.infer<typeof TOTALS>

export function noTotals(): Totals {
  return TOTALS.parse({})
}

export function addTotals(sum: Totals, more: Totals): void {
  for (const key of TOTALS.keyof().options) sum[key] += more[key]
}
