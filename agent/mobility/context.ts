import type { KeyedQueue } from '../runtime/keyed-queue.ts'
import type { LocalCopy } from '../store/contract.ts'
import type { CheckpointScheduler } from './checkpoint/scheduler.ts'
import type { Surrendered } from './checkpoint/surrendered.ts'
import type { Parts } from './dependencies.ts'
import type { ContainerUses } from './hold/container-uses.ts'
import type { ReleaseTroubles } from './hold/release-troubles.ts'
import type { Expiry } from './lease/expiry.ts'
import type { GuardedVolumes } from './lease/guarded-volumes.ts'
import type { KnownHosts } from './lease/host-directory.ts'
import type { Lease } from './lease/lease.ts'
import type { StateDisk } from './lease/state-disk.ts'
import type { CatchUp } from './placement/catch-up.ts'
import type { CopyManager } from './replication/copy-manager.ts'
import type { LiveCaptures } from './replication/live-captures.ts'
import type { TreeChecks } from './replication/tree-checks.ts'
import type { Namesakes } from './swarm/namesakes.ts'
import type { Wakeups } from './wakeups.ts'

/** What the decisions share while the agent runs. Nothing in it needs to survive a restart. */
export interface Context {
  readonly parts: Parts
  readonly hosts: KnownHosts
  readonly locks: KeyedQueue
  readonly wakes: Wakeups
  readonly copying: CopyManager
  readonly catchUp: CatchUp
  readonly checks: TreeChecks
  readonly lease: Lease
  readonly expiry: Expiry
  readonly guarding: GuardedVolumes
  readonly checkpointing: CheckpointScheduler
  /** Mount calls that are waiting now, by volume name: a release that nobody needs any more is not begun. */
  readonly pendingMounts: Map<string, number>
  readonly uses: ContainerUses
  /** What the engine last said of itself, and the Swarm's leader of this node. */
  readonly engine: { name: string; swarmNode: string | null; leader: boolean; zone: string | null; drained: boolean }
  /** Space for volumes, as last looked at. */
  readonly disk: { freeBytes: number; totalBytes: number }
  /** Holds of this host that an acknowledged write has confirmed since the agent started: by volume id. */
  readonly confirmed: Map<string, { readonly name: string; readonly incarnation: string }>
  /** Volumes whose release is under way or waits its turn. */
  readonly releasing: Set<string>
  readonly liveCaptures: LiveCaptures
  readonly namesakes: Namesakes
  readonly troubles: ReleaseTroubles
  readonly stateDisk: StateDisk
  /**
   * Holds that another host was allowed to end: unmounted here, and mounted again only after a write that confirms the
   * hold. By volume id.
   */
  readonly surrendered: Map<string, Surrendered>
  /** By volume id: the highest number of a tree that was given away so. No other content gets it (promise 14). */
  readonly givenSeqs: Map<string, number>
  /** Uses that are over and that this disk could not be told of: the counts as the disk has them, by volume id. */
  readonly overUses: Map<string, LocalCopy['mounts']>
}
