import type { Checkpoint, VolumeOptions } from '../agent/model/model.ts'
import type { Capture, SpoolRound } from '../agent/store/contract.ts'

/** What a Wherry end can be told; it does one after the other. */
export type Order =
  | { readonly do: 'create'; readonly id: string; readonly options: VolumeOptions }
  | { readonly do: 'capture'; readonly id: string }
  | {
      readonly do: 'pull'
      readonly id: string
      readonly from: { readonly address: string; readonly port: number }
      readonly hash: string
    }
  | { readonly do: 'apply'; readonly id: string; readonly checkpoint: Checkpoint }
  | { readonly do: 'hold'; readonly id: string }
  | { readonly do: 'take'; readonly id: string; readonly seq: number }
  | { readonly do: 'drop'; readonly id: string }
  /** Starts counting for `stats` again. */
  | { readonly do: 'reset' }
  | { readonly do: 'stats' }

/** A checkpoint of a held volume, committed on the holder's disk. */
export interface Taken {
  readonly checkpoint: Checkpoint
  /** While programs could run. */
  readonly rounds: readonly SpoolRound[]
  readonly roundsSeconds: number
  /** The last round, and how long programs would stand still for it. */
  readonly last: Capture
  readonly lastMs: number
  /** Reading what was frozen, and the commit: programs could run. */
  readonly commitSeconds: number
}

/** What one end's process has used since the last `reset`. */
export interface Stats {
  /** Largest resident memory. */
  readonly peakBytes: number
  /** User and system time of all its threads. */
  readonly cpuSeconds: number
  /** How long the main thread's event loop was not served. */
  readonly delayMaxMs: number
  readonly delayP99Ms: number
}
