import type { Checkpoint, CopyState, Trouble, VolumeOptions } from '../model/model.ts'
import type { DivergedTree } from '../store/contract.ts'

/** One volume as operators and Docker see it. */
export interface VolumeView {
  readonly name: string
  readonly id: string
  readonly options: VolumeOptions
  readonly createdAt: string
  /** Empty when the volume is not mounted on this host. */
  readonly mountpoint: string
  /** True when the registry is unreachable and this is what it last said. */
  readonly stale: boolean
  /** As `HostView.staleSince`. */
  readonly staleSince?: string
  /**
   * True: the agent has just started and has not heard of all hosts of the volume.
   * Which of them are away is unknown.
   */
  readonly hostsUnknown?: true
  readonly holder: {
    readonly host: string
    readonly address: string
    readonly since: string
    readonly epoch: number
    readonly containers: readonly string[]
    /**
     * For how long its host has been away, in words.
     * Null: it is alive, or that is not known (`hostsUnknown`).
     */
    readonly away: string | null
  } | null
  readonly epoch: number
  readonly last: Checkpoint | null
  /**
   * While held: the newest checkpoint that another living host has.
   * What was written in the last `ageSeconds` is on the holder alone. Null: none has the newest, or not held.
   */
  readonly elsewhere: { readonly epoch: number; readonly seq: number; readonly ageSeconds: number } | null
  /** The last takeover from a lost holder, and what it may have cost; null: never. */
  readonly seizure: {
    readonly from: string
    readonly by: string
    readonly at: string
    readonly epoch: number
    readonly seq: number
    readonly ageSeconds: number
  } | null
  /**
   * A removed volume of this name whose data is still on hosts' disks; null: none is known.
   * `until`: when it is deleted; null: not known.
   */
  readonly predecessor?: {
    readonly id: string
    readonly hosts: readonly string[]
    readonly until: string | null
  } | null
  /** While held here: how its checkpoints go. Null elsewhere. */
  readonly checkpointing: CheckpointView | null
  /**
   * Why its holder cannot release it although no container uses it there.
   * Null: it can, or is not asked to.
   */
  readonly stuck: (Trouble & { readonly host: string }) | null
  /** Why its holder's newest checkpoint is late on other hosts; null or missing: it is not, as far as is known. */
  readonly late?: (Trouble & { readonly host: string }) | null
  /** Why its holder cannot write its state directory; null: it can, as far as is known. */
  readonly unwritable: (Trouble & { readonly host: string }) | null
  /** Names of containers on this host that are paused because its lease has expired or had. */
  readonly fenced: readonly string[]
  /** Trees on this host with writes that the cluster does not have. */
  readonly diverged: readonly DivergedTree[]
  /** Other hosts that report such trees, and how many. */
  readonly divergedElsewhere: readonly { readonly host: string; readonly trees: number }[]
  /** Hosts whose engine also has a volume of driver `local` with this name. */
  readonly namesakes: readonly string[]
  readonly copies: readonly {
    readonly host: string
    readonly address: string
    readonly state: CopyState
    readonly epoch: number
    readonly seq: number
    readonly at: string
    /**
     * Since when its host has been away (ISO 8601): the copy is of no use until it is back.
     * Null: the host is alive, or that is not known (`hostsUnknown`).
     */
    readonly awaySince: string | null
    /**
     * Why it is not at the newest checkpoint, or cannot be used, as far as this host knows.
     * Null: nothing is known.
     */
    readonly why: string | null
  }[]
  readonly move: MoveView | null
}

/** Checkpoints of a volume that is held here. */
export interface CheckpointView {
  /** `fuzzy`: taken while the containers ran (consistency=live). */
  readonly state: 'off' | 'waiting' | 'running' | 'fuzzy'
  /** Of the newest one that another host has; null: none yet. */
  readonly ageSeconds: number | null
  /** How long containers were paused for the newest one. */
  readonly pauseMs: number | null
  /** Time from one to the next, as adapted to what they cost. */
  readonly intervalMs: number
  /** Why the newest try failed; null: it did not. */
  readonly error: string | null
  /** How many tries failed since the last success; each failure delays the next try. */
  readonly failures: number
  /**
   * Why changed files are read whole.
   * Null: the kernel reports which parts changed, or nobody has scanned yet.
   */
  readonly scanned: string | null
}

/** One copy of a volume on its way to this host. */
export interface MoveView {
  readonly volume: string
  readonly id: string
  readonly from: string
  readonly to: string
  readonly startedAt: string
  /**
   * File content: of the `bytesTotal` that have to come, this much is here.
   * After the end both are what crossed the network.
   */
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
  readonly bytesPerSecond: number
  /** Null while it is unknown. */
  readonly secondsLeft: number | null
  /** `waiting`: pre-seeded; the rest follows when the holder releases the volume. */
  readonly state: 'running' | 'waiting' | 'done' | 'failed'
  readonly error: string | null
  readonly seconds: number
}
