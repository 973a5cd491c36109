import type { Logger } from 'pino'
import type { Bus, LeaderView } from '../bus/contract.ts'
import type { Engine } from '../docker/contract.ts'
import type { Freezes, Pauses, Watchdog } from '../fence/contract.ts'
import type { DrainFlag } from '../host/drain-flag.ts'
import type { EngineFacts } from '../host/engine-facts.ts'
import type { VolumeRecord } from '../model/model.ts'
import type { Registry, Versioned } from '../registry/contract.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Store } from '../store/contract.ts'
import type { Peers, VolumePuller } from '../transfer/contract.ts'

/** Last known answers of the registry, for calls that must not fail while it is away (promise 10). */
export interface RecordCache {
  get(name: string): Promise<{ entry: Versioned<VolumeRecord> | null; stale: boolean }>
  list(): Promise<{ entries: Versioned<VolumeRecord>[]; stale: boolean }>
}

/** Who we are; made once at start. */
export interface Self {
  readonly id: string
  readonly address: string
  readonly transferPort: number
  readonly incarnation: string
}

/** `unchanged`: nothing had been written since the last one; `over_budget`: containers would have had to stand still for too long; `missed`: the audit found a change that the kernel had not told of. */
export type CheckpointResult = 'taken' | 'unchanged' | 'over_budget' | 'failed' | 'missed'

/** Where is counted what happens here, by volume name, for monitors. Calls cost next to nothing and never fail. */
export interface Tally {
  /** A try to take a checkpoint of a volume in use is over. */
  checkpoint(volume: string, result: CheckpointResult): void
  /** Containers stood still for a checkpoint, whether it was taken or not. */
  paused(volume: string, ms: number): void
  /** This host took the volume over. */
  seized(volume: string): void
  /** Data of a copy crossed the network to this host. */
  moved(volume: string, bytes: number): void
}

/** Everything the decisions need from outside. */
export interface Dependencies {
  readonly self: Self
  readonly registry: Registry
  readonly cache: RecordCache
  readonly store: Store
  readonly puller: VolumePuller
  readonly peers: Peers
  /** What this host's own registry server says. */
  readonly sight: () => Promise<LeaderView>
  readonly watchdog: Watchdog
  readonly pauses: Pauses
  readonly freezes: Freezes
  readonly bus: Bus
  readonly engine: Engine
  readonly clock: Clock
  /** A fresh ULID. */
  readonly newId: () => string
  readonly log: Logger
  readonly tally: Tally
  readonly heartbeatMs: number
  readonly leaseMs: number
  /** How long a heartbeat must have stood still, watched without a break, before another host may expire it. */
  readonly seizeAfterMs: number
  /** How long containers may stand still for one checkpoint. */
  readonly pauseBudgetMs: number
  /** Most of the time that checkpoints of held volumes may take on this host, all together; above 0, at most 1. */
  readonly checkpointShare: number
  /** A host that was not heard of for this long is replaced: others get its copies. */
  readonly replaceAfterMs: number
  /** Where the transfer servers of all hosts of the settings are, this host's own among them: whom to ask when the registry knows nobody. */
  readonly peerAddresses: readonly { readonly address: string; readonly port: number }[]
  /** Whether a person wants this host's copies to leave. */
  readonly drainWish: DrainFlag
  readonly engineFacts: EngineFacts
  /** True: this host has no peers; nobody can take anything over from it. */
  readonly alone: boolean
  /** Addresses of the hosts that run the registry's servers; empty with a NATS of the user's own. */
  readonly registryHosts: readonly string[]
  /** How many of them must see no leader before it is certain that none of the registry's buckets has one; Infinity: nobody can know. */
  readonly leaderlessQuorum: number
  /** Aborts when the agent shuts down. */
  readonly signal: AbortSignal
}
