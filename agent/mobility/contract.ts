import type { Trouble, VolumeOptions } from '../model/model.ts'
import type { Verification } from '../store/contract.ts'
import type { MoveView, VolumeView } from './volume-view.ts'

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
  /** True: it is away, and not in this host's WHERRY_PEERS, or a living host has its address. It does not come back. */
  readonly gone?: true
  /** True: its WHERRY_PEERS differs from this host's. */
  readonly otherPeers?: true
  /** Of Wherry, by its last heartbeat; null: an older release does not say it. */
  readonly version: string | null
  /** When its certificate ends, ISO 8601; null: it needs none, or an older release does not say it. */
  readonly certificateEnds: string | null
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
  /** When this host's certificate ends, ISO 8601; null: it needs none. */
  readonly certificateEnds: string | null
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
