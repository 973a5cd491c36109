import type { LocalCopy } from '../store/contract.ts'
import type {
  CatchUp,
  CheckpointScheduler,
  CopyManager,
  LiveCaptures,
  PlacementDue,
  TreeChecks,
} from './copy-contract.ts'
import type { Dependencies } from './dependencies.ts'
import type { Expiry, GuardedVolumes, HostDirectory, Lease, LocalCopies, StateDiskHealth } from './host-contract.ts'
import type { ContainerUses, Namesakes, Releases, ReleaseTroubles, Surrendered } from './use-contract.ts'
import type { VolumeTroubles } from './volume-troubles.ts'

/**
 * What the decisions of one host share while the agent runs. Nothing in it needs to survive a restart.
 * Functions take `Pick<Context, ...>` of what they touch. The classes behind these interfaces are put together in
 * create-context.ts.
 */
export interface Context {
  readonly dependencies: Dependencies
  readonly hosts: HostDirectory
  readonly locks: VolumeLocks
  readonly wakeups: Wakeups
  readonly copyManager: CopyManager
  readonly catchUp: CatchUp
  readonly treeChecks: TreeChecks
  readonly lease: Lease
  readonly expiry: Expiry
  readonly guardedVolumes: GuardedVolumes
  readonly localCopies: LocalCopies
  readonly placementDue: PlacementDue
  readonly checkpointScheduler: CheckpointScheduler
  readonly containerUses: ContainerUses
  readonly liveCaptures: LiveCaptures
  readonly namesakes: Namesakes
  readonly releases: Releases
  readonly releaseTroubles: ReleaseTroubles
  /** What the reconcile loop cannot do for volumes. */
  readonly volumeTroubles: VolumeTroubles
  readonly stateDisk: StateDiskHealth
  /** This host by its engine's last reply, and by the Swarm's leader. */
  readonly node: { name: string; swarmNode: string | null; leader: boolean; zone: string | null; drained: boolean }
  /** When the engine is asked about itself again, on the clock's elapsedMs. */
  readonly engineInfo: { dueMs: number }
  /** Space for volumes at the last scan. */
  readonly space: { freeBytes: number; totalBytes: number }
  /**
   * Number of Mount calls that wait now, by volume name.
   * A release that nobody needs any more is not begun.
   */
  readonly pendingMounts: Map<string, number>
  /** Holds of this host that an acknowledged write has confirmed since the agent started, by volume id. */
  readonly confirmed: Map<string, { readonly name: string; readonly incarnation: string }>
  /** Ids of volumes whose release runs or waits its turn. */
  readonly releasing: Set<string>
  /**
   * Holds that another host was allowed to end, by volume id.
   * They are unmounted here, and mounted again only after a write that confirms the hold.
   */
  readonly surrendered: Map<string, Surrendered>
  /**
   * By volume id: the highest number of a tree given away so.
   * No other content gets that number (promise 14).
   */
  readonly givenSeqs: Map<string, number>
  /** Ids of volumes held here whose record was read as marked as removed. */
  readonly removalsSeen: Set<string>
  /** Tombstones that were not acted on because something contradicts them, by volume id. On the clock's elapsedMs. */
  readonly refusedTombstones: Map<string, { readonly name: string; readonly why: string; readonly sinceMs: number }>
  /** Counts of uses that have ended without this disk being updated, as the disk has them, by volume id. */
  readonly endedUses: Map<string, LocalCopy['mounts']>
}

/** Runs the work of one volume one after another, by volume id. Volumes do not wait for each other. */
export interface VolumeLocks {
  run<T>(id: string, work: () => Promise<T>): Promise<T>
}

/**
 * Lets loops sleep until something may have changed. Wakeups are hints: they may be lost or doubled.
 * So every wait has a time limit, and every woken loop reads stored state.
 */
export interface Wakeups {
  /** Wakes those who wait for `key`; null wakes all. */
  wake(key: string | null): void
  /** Resolves at a wake of `key`, when `sleep` resolves, or when `signal` aborts. Never rejects. */
  wait(key: string, sleep: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void>
}
