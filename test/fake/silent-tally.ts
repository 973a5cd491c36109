import type { Tally } from '../../agent/mobility/dependencies.ts'

/** For worlds in which nobody counts. */
export const SILENT_TALLY: Tally = {
  checkpoint: () => undefined,
  paused: () => undefined,
  seized: () => undefined,
  moved: () => undefined,
}
