import type { Checkpoint, CopyState, Trouble, VolumeOptions } from '../model/model.ts'
import type { DivergedTree, Verification } from '../store/contract.ts'

/** One volume as people and Docker see it. */
export interface VolumeView {
  readonly name: string
  readonly id: string
  readonly options: VolumeOptions
  readonly createdAt: string
  /** Empty when the volume is not mounted on this host. */
  readonly mountpoint: string
  /** True when the registry was out of reach and this is the last thing it said. */
  readonly stale: boolean
  /** True: the agent has just started and has not heard of all hosts of the volume; who of them is away is unknown. */
  readonly hostsUnknown?: true
  readonly holder: {
    readonly host: string
    readonly address: string
    readonly since: string
    readonly epoch: number
    readonly containers: readonly string[]
    /** For how long its host has been away, in words; null: it is alive, or that is not known (`hostsUnknown`). */
    readonly away: string | null
  } | null
  readonly epoch: number
  readonly last: Checkpoint | null
  /** While held: the newest checkpoint that another host has which is alive. What was written in the last `ageSeconds` is on the holder alone. Null: none has the newest, or not held. */
  readonly elsewhere: { readonly epoch: number; readonly seq: number; readonly ageSeconds: number } | null
  /** The last time the volume was taken over from a lost holder, and what that may have cost; null: never. */
  readonly seizure: {
    readonly from: string
    readonly by: string
    readonly at: string
    readonly epoch: number
    readonly seq: number
    readonly ageSeconds: number
  } | null
  /** A removed volume of this name whose data is still on hosts' disks, until when (null: not known); null: none is known. */
  readonly predecessor?: {
    readonly id: string
    readonly hosts: readonly string[]
    readonly until: string | null
  } | null
  /** While held here: how its checkpoints go. Null elsewhere. */
  readonly checkpointing: CheckpointView | null
  /**
   * Why its holder cannot release it although no container uses it there any more; null: it can, or is not asked to.
   */
  readonly stuck: (Trouble & { readonly host: string }) | null
  /** Why its holder cannot write its state directory; null: it can, as far as is known. */
  readonly unwritable: (Trouble & { readonly host: string }) | null
  /** Names of containers on this host that are paused because its lease is over or was. */
  readonly fenced: readonly string[]
  /** Trees on this host with writes that the cluster never got. */
  readonly diverged: readonly DivergedTree[]
  /** Other hosts that say that they have such trees, and how many. */
  readonly divergedElsewhere: readonly { readonly host: string; readonly trees: number }[]
  /** Hosts whose engine also has a volume of its own driver `local` with this name. */
  readonly namesakes: readonly string[]
  readonly copies: readonly {
    readonly host: string
    readonly address: string
    readonly state: CopyState
    readonly epoch: number
    readonly seq: number
    readonly at: string
    /**
     * Since when its host has been away (ISO 8601): the copy is of no use until it is back. Null: the host is alive, or
     * that is not known (`hostsUnknown`).
     */
    readonly awaySince: string | null
    /** Why it is not at the newest checkpoint, or cannot be used, as far as this host knows; null: nothing is wrong, or nobody told. */
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
  /** How long containers stood still for the newest one. */
  readonly pauseMs: number | null
  /** Time from one to the next, as adapted to what they cost. */
  readonly intervalMs: number
  /** Why the newest try failed; null: it did not. */
  readonly error: string | null
  /** How many tries failed since the last one that did not; after each the next one comes later. */
  readonly failures: number
  /** Why files that changed are read whole; null: the kernel tells which parts of them changed, or nobody has looked yet. */
  readonly scanned: string | null
}

/** What a registry that was lost was rebuilt from. */
export interface RecoverView {
  /** Names of volumes whose records were written. */
  readonly written: readonly string[]
  /** Records that were there and not below what the disks say. */
  readonly kept: readonly string[]
  /** One line each: what a person must decide, and hosts that did not answer. */
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

/** How far a host is with giving its copies away. */
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
  /** File content: of `bytesTotal` that have to come, this much is here. After the end both are what crossed the network. */
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly filesDone: number
  readonly filesTotal: number
  readonly bytesPerSecond: number
  /** Null while it cannot be told. */
  readonly secondsLeft: number | null
  /** `waiting`: sent ahead; the rest follows when the holder releases the volume. */
  readonly state: 'running' | 'waiting' | 'done' | 'failed'
  readonly error: string | null
  readonly seconds: number
}

/** What reading a copy again found. */
export interface VerifyView extends Verification {
  readonly volume: string
  readonly host: string
  readonly checkpoint: { readonly epoch: number; readonly seq: number }
  /** Damaged blocks are being fetched from another host. False with damage: no other host has this checkpoint. */
  readonly repairing: boolean
}

export interface HostView {
  readonly id: string
  readonly name: string
  readonly address: string
  readonly self: boolean
  readonly alive: boolean
  /** True when the registry does not answer this host: all of this is what it last said, and says nothing of who is alive. */
  readonly stale: boolean
  /** True: it is not alive as far as is known, but the agent has just started and has not listened for long enough. */
  readonly unknown?: true
  /** Why it cannot write its state directory, by its last word; null: it can, as far as is known. */
  readonly unwritable: Trouble | null
  readonly lastSeen: string
  readonly swarmNode: string | null
  readonly uses: Readonly<Record<string, readonly string[]>>
  readonly freeBytes: number
  readonly totalBytes: number
  readonly zone: string | null
  readonly draining: boolean
}

export interface Health {
  readonly ready: boolean
  readonly registry: { readonly available: boolean; readonly detail: string }
  readonly engine: { readonly reachable: boolean; readonly detail: string }
  /** False: nothing can be written to the state directory, and `detail` says why. */
  readonly state: { readonly writable: boolean; readonly detail: string }
  /** 0: it is over, and what others could take over from this host stands still. */
  readonly lease: { readonly secondsLeft: number }
  /** Ids of containers that are paused because of that. */
  readonly fenced: readonly string[]
  /** Standing warnings for people, e.g. what two servers mean. */
  readonly notes: readonly string[]
  readonly hostId: string
  readonly version: string
}

/** What the agent's API asks of the decisions. Every call is safe to repeat. */
export interface Mobility {
  /** Adds a volume; one that exists with the same options is answered as it is, with others VOLUME_EXISTS. Durable on return. */
  create(name: string, options: VolumeOptions): Promise<VolumeView>
  /** VOLUME_NOT_FOUND only when the registry said so; REGISTRY_UNAVAILABLE when it is away and nothing is known. */
  get(name: string, signal: AbortSignal): Promise<VolumeView>
  list(): Promise<VolumeView[]>
  /** Takes the volume off the cluster, every copy into its host's trash. VOLUME_IN_USE while anything refers to it, or that is not known; VOLUME_NOT_FOUND. */
  remove(name: string): Promise<void>
  /** The same with what the operator accepts; answers what referred to it. */
  removeWith(name: string, consent: RemovalConsent, signal: AbortSignal): Promise<RemovalView>
  /** Holds the volume, brings its data here, mounts it. The hold is in the registry and on disk on return (promise 1). */
  mount(name: string, mountId: string, deadlineMs: number): Promise<{ mountpoint: string }>
  /** Drops one use; the last one releases the volume in the background. An unknown volume or id is no error. */
  unmount(name: string, mountId: string): Promise<void>
  /** Reads this host's copy of an idle volume again, byte by byte; damaged blocks are fetched from another host. As long as that takes. */
  verify(name: string, signal: AbortSignal): Promise<VerifyView>
  /**
   * Ends the hold of a holder that is lost, or gives up a checkpoint that cannot be reached, and makes the best reachable checkpoint the volume's last. The volume is
   * idle then and follows the next Mount. FAILOVER_REFUSED, with who has what, when data would be lost and `acceptLoss`
   * is false. A holder that lives and that no container uses gives the volume up, and sends what it has first, if it
   * can read it. A volume that no host holds and that can be mounted as it is stays as it is, and `summary` says so.
   * VOLUME_HELD_ELSEWHERE while a container uses it, RELEASE_FAILED while something else there does.
   */
  promote(name: string, acceptLoss: boolean, signal: AbortSignal): Promise<PromotionView>
  /** Gives this host's copies to other hosts from now on (`on` false: no longer), and says how far it is. The wish outlives the agent. */
  drain(on: boolean): Promise<DrainView>
  /** Writes the records of a lost registry anew, from the disks of all hosts that answer. Never lowers an epoch, never touches a record that is not below the disks. */
  recover(signal: AbortSignal): Promise<RecoverView>
  hosts(): Promise<HostView[]>
  moves(): Promise<MoveView[]>
  health(): Promise<Health>
}

/** What the operator accepts when a volume is removed. */
export interface RemovalConsent {
  /** Services and containers that refer to it, and that somebody who was not asked may. */
  readonly force: boolean
  /** Its holder is lost, and with it what only the holder has. */
  readonly acceptLoss: boolean
}
