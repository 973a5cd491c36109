import type { Tally } from '../../agent/mobility/dependencies.ts'

/** A tally that counts nothing. */
export const SILENT_TALLY: Tally = {
  checkpoint: () => undefined,
  paused: () => undefined,
  takenOver: () => undefined,
  moved: () => undefined,
}
