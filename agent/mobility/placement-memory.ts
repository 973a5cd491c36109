import type { Core } from './core.ts'

/** What placement remembers from one look to the next; losing it costs time only. */
export interface PlacementMemory {
  readonly startedMs: number
  /** Since when a copy here is one too many, and what then told whether the volume has moved. */
  readonly surplus: Map<string, { holder: string | null; epoch: number; sinceMs: number }>
}

export function createPlacementMemory(core: Pick<Core, 'parts'>): PlacementMemory {
  return { startedMs: core.parts.clock.elapsedMs(), surplus: new Map() }
}
