import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Context } from '../context.ts'

/** What placement remembers from one scan to the next; losing it costs time only. */
export interface PlacementMemory {
  readonly startedMs: number
  /** Since when a copy here is surplus, and what showed then whether the volume has moved. */
  readonly surplus: Map<string, { holder: string | null; epoch: number; sinceMs: number }>
  /** Results of comparing the copies elsewhere, by volume id; null: that runs, or waits for its turn. */
  readonly compared: Map<string, Comparison | null>
  readonly comparing: KeyedQueue
}

export function createPlacementMemory(context: Pick<Context, 'dependencies'>): PlacementMemory {
  const startedMs = context.dependencies.clock.elapsedMs()
  return { startedMs, surplus: new Map(), compared: new Map(), comparing: new KeyedQueue() }
}

/** The copies of these hosts were found to be this checkpoint. */
export interface Comparison {
  readonly hosts: readonly string[]
  readonly hash: string
  /** On the clock's elapsedMs. */
  readonly atMs: number
}
