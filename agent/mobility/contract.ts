import type { Checkpoint, CopyState, Trouble, VolumeOptions } from '../model/model.ts'
import type { DivergedTree, Verification } from '../store/contract.ts'

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

/** What was rebuilt after the registry was lost. */
export interface RecoverView {
  /** Names of volumes whose records were written. */
  readonly written: readonly string[]
  /** Names of volumes whose records were there and not below the disks. */
  readonly kept: readonly string[]
  /** One line each: what an operator must decide, and hosts that did not reply. */
  readonly problems: readonly string[]
}

/** A volume that was removed. */
export interface RemovalView {
  readonly volume: string
  readonly id: string
  /** What referred to it, a line each. */
  readonly references: readonly string[]
  /** Hosts that were given up: what they have is set aside when they return. */
  readonly lost: readonly string[]
}

/** A volume after `promote`. */
export interface PromotionView extends VolumeView {
  /** False: there was nothing to do, the volume can be mounted as it is. */
  readonly changed: boolean
  /** For the operator: where the volume stands now, and what is missing. */
  readonly summary: string
}

/** How far the drain of a host is. */
export interface DrainView {
  readonly host: string
  readonly draining: boolean
  /** Volumes with a copy that is still there, and why. */
  readonly left: readonly { readonly volume: string; readonly why: string }[]
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

/** What reading a copy again found. */
export interface VerifyView extends Verification {
  readonly volume: string
  readonly host: string
  readonly checkpoint: { readonly epoch: number; readonly seq: number }
  /**
   * Damaged blocks are being fetched from another host.
   * False with damage: no other host has this checkpoint.
   */
  readonly repairing: boolean
}

export interface HostView {
  readonly id: string
  readonly name: string
  readonly address: string
  readonly self: boolean
  readonly alive: boolean
  /**
   * True when the registry does not reply to this host.
   * This is what it last said, and does not show who is alive.
   */
  readonly stale: boolean
  /** While `stale`: when the registry replied last (ISO 8601), or when this agent started if it has not since then. */
  readonly staleSince?: string
  /**
   * True: it is not alive as far as is known, but the agent has just started.
   * It has not listened for long enough.
   */
  readonly unknown?: true
  /** Why it cannot write its state directory, by its last heartbeat; null: it can, as far as is known. */
  readonly unwritable: Trouble | null
  /** ISO 8601; empty: this agent has not heard of it. */
  readonly lastSeen: string
  /** True: its WHERRY_PEERS differs from this host's. */
  readonly otherPeers?: true
  /** Of Wherry, by its last heartbeat; null: an older release does not say it. */
  readonly version: string | null
  readonly swarmNode: string | null
  /** How many volumes it holds. */
  readonly holds: number
  /** By volume id: the containers of volumes that it holds, as far as its heartbeat names them. */
  readonly uses: Readonly<Record<string, readonly string[]>>
  readonly freeBytes: number
  readonly totalBytes: number
  readonly zone: string | null
  readonly draining: boolean
}

export interface Health {
  readonly ready: boolean
  readonly registry: {
    readonly available: boolean
    readonly detail: string
    /** Since when it has not replied (ISO 8601), as `HostView.staleSince`. */
    readonly since?: string
    /** True: all that is missing is other hosts. This host's own part of it is in order. */
    readonly waitsForHosts?: true
  }
  readonly engine: { readonly reachable: boolean; readonly detail: string }
  /** False: nothing can be written to the state directory, and `detail` says why. */
  readonly state: { readonly writable: boolean; readonly detail: string }
  /** 0: it has expired, and containers that others could take over are paused. */
  readonly lease: { readonly secondsLeft: number }
  /** Ids of containers that are paused because of that. */
  readonly fenced: readonly string[]
  /** Standing warnings for operators, e.g. what two servers mean. */
  readonly notes: readonly string[]
  readonly hostId: string
  /** This host's name, as the engine said it last. */
  readonly host: string
  readonly version: string
}

/** What the agent's API asks of the decisions. Every call may be repeated. */
export interface Mobility {
  /**
   * Adds a volume; returns one that exists with the same options as it is. Durable on return.
   * VOLUME_EXISTS: it has other options.
   */
  create(name: string, options: VolumeOptions): Promise<VolumeView>
  /**
   * Returns one volume. VOLUME_NOT_FOUND only when the registry said so.
   * REGISTRY_UNAVAILABLE when it is away and nothing is known.
   */
  get(name: string, signal: AbortSignal): Promise<VolumeView>
  list(): Promise<VolumeView[]>
  /**
   * Removes the volume from the cluster; every copy goes to its host's trash.
   * VOLUME_IN_USE while anything refers to it, or that is not known; VOLUME_NOT_FOUND.
   */
  remove(name: string): Promise<void>
  /** The same with what the operator accepts; returns what referred to it. */
  removeWith(name: string, consent: RemovalConsent, signal: AbortSignal): Promise<RemovalView>
  /**
   * Holds the volume, brings its data here, and mounts it.
   * The hold is in the registry and on disk on return (promise 1).
   */
  mount(name: string, mountId: string, deadlineMs: number): Promise<{ mountpoint: string }>
  /**
   * Drops one use; the last one releases the volume in the background.
   * An unknown volume or id is no error.
   */
  unmount(name: string, mountId: string): Promise<void>
  /**
   * Reads this host's copy of an idle volume again, byte by byte, for as long as that takes.
   * Damaged blocks are fetched from another host.
   */
  verify(name: string, signal: AbortSignal): Promise<VerifyView>
  /**
   * Makes a volume idle at the best checkpoint that can be reached; it follows the next Mount.
   * It ends the hold of a lost holder, or gives up a checkpoint that cannot be reached. A living holder that no
   * container uses gives the volume up, and sends what it has first, if it can read it.
   * A volume that no host holds and that can be mounted as it is stays as it is, and `summary` says so.
   * FAILOVER_REFUSED, with who has what: data would be lost and `acceptLoss` is false.
   * VOLUME_HELD_ELSEWHERE: a container uses it. RELEASE_FAILED: something else there does.
   */
  promote(name: string, acceptLoss: boolean, signal: AbortSignal): Promise<PromotionView>
  /**
   * Starts (`on`) or ends the drain of this host, and returns how far it is.
   * The flag outlives the agent.
   */
  drain(on: boolean): Promise<DrainView>
  /**
   * Rebuilds the records of a lost registry from the disks of all hosts that reply.
   * It never lowers an epoch, and never touches a record that is not below the disks.
   */
  recover(signal: AbortSignal): Promise<RecoverView>
  hosts(): Promise<HostView[]>
  moves(): Promise<MoveView[]>
  health(): Promise<Health>
}

/** What the operator accepts when a volume is removed. */
export interface RemovalConsent {
  /** Services and containers that refer to it, and hosts that were not asked and may. */
  readonly force: boolean
  /** Its holder is lost, and with it what only the holder has. */
  readonly acceptLoss: boolean
}
