import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Dependencies } from '../dependencies.ts'
import { ComingBytes } from './coming-bytes.ts'

/** What placement remembers from one scan to the next; losing it costs time only. */
export interface PlacementMemory {
  readonly startedMs: number
  /** Since when a copy here is surplus, and what showed then whether the volume has moved. */
  readonly surplus: Map<string, { holder: string | null; epoch: number; sinceMs: number }>
  /** Results of comparing the copies elsewhere, by volume id; null: that runs, or waits for its turn. */
  readonly compared: Map<string, Comparison | null>
  readonly comparing: KeyedQueue
  /** Names of volumes that lacked copies at the last scan. */
  readonly lacking: Set<string>
  readonly coming: ComingBytes
  /** What all hosts were like at the last scan. */
  hosts: string
}

export function createPlacementMemory({ clock }: Pick<Dependencies, 'clock'>): PlacementMemory {
  const startedMs = clock.elapsedMs()
  return {
    startedMs,
    surplus: new Map(),
    compared: new Map(),
    comparing: new KeyedQueue(),
    lacking: new Set(),
    coming: new ComingBytes(),
    hosts: '',
  }
}

/** The copies of these hosts were found to be this checkpoint. */
export interface Comparison {
  readonly hosts: readonly string[]
  readonly hash: string
  /** On the clock's elapsedMs. */
  readonly atMs: number
}
