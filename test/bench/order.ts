import type { Checkpoint, VolumeOptions } from '../../agent/model.ts'

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
  | { readonly do: 'drop'; readonly id: string }
  /** Starts counting for `stats` anew. */
  | { readonly do: 'reset' }
  | { readonly do: 'stats' }

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
