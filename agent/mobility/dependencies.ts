import type { Logger } from 'pino'
import type { Bus, LeaderView } from '../bus/contract.ts'
import type { Engine } from '../docker/contract.ts'
import type { Freezes, Pauses, Watchdog } from '../fence/contract.ts'
import type { DrainFlag } from '../host/drain-flag.ts'
import type { EngineFacts } from '../host/engine-facts.ts'
import type { HostNames } from '../host/host-names.ts'
import type { VolumeRecord } from '../model/model.ts'
import type { Registry, Versioned } from '../registry/contract.ts'
import type { Clock } from '../runtime/clock.ts'
import type { Store } from '../store/contract.ts'
import type { Peers, VolumePuller } from '../transfer/contract.ts'

/** Last known records of the registry, for calls that must not fail while it is away (promise 10). */
export interface RecordCache {
  get(name: string): Promise<{ entry: Versioned<VolumeRecord> | null; stale: boolean }>
  list(): Promise<{ entries: Versioned<VolumeRecord>[]; stale: boolean }>
}

/** This host; made once at start. */
export interface Self {
  readonly id: string
  readonly address: string
  readonly transferPort: number
  readonly incarnation: string
  /** Of Wherry. */
  readonly version: string
}

/**
 * How a try to take a checkpoint ended.
 * `unchanged`: nothing had been written since the last one. `over_budget`: the pause would have taken too long.
 * `missed`: the audit found a change that the kernel had not reported.
 */
export type CheckpointResult = 'taken' | 'unchanged' | 'over_budget' | 'failed' | 'missed'

/** Counts what happens here, by volume name, for monitors. Calls cost next to nothing and never fail. */
export interface Tally {
  /** A try to take a checkpoint of a volume in use has ended. */
  checkpoint(volume: string, result: CheckpointResult): void
  /** Containers were paused for a checkpoint, whether it was taken or not. */
  paused(volume: string, ms: number): void
  /** This host took the volume over. */
  takenOver(volume: string): void
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
  /** Whether this host's own registry server sees a leader. */
  readonly leaderView: () => Promise<LeaderView>
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
  /**
   * How long a heartbeat must be unchanged before another host may end its lease.
   * It must be watched without a break for as long.
   */
  readonly seizeAfterMs: number
  /** How long containers may be paused for one checkpoint. */
  readonly pauseBudgetMs: number
  /** Largest share of time for all checkpoints of held volumes on this host; above 0, at most 1. */
  readonly checkpointShare: number
  /** A host that was not heard of for this long is replaced: others get its copies. */
  readonly replaceAfterMs: number
  /**
   * Transfer servers of all hosts of the settings, this host's own included.
   * For when the registry knows no host.
   */
  readonly peerAddresses: readonly { readonly address: string; readonly port: number }[]
  /** When this host's certificate ends; null: it needs none. */
  readonly certificateEnds: () => Date | null
  /** Whether an operator drains this host. */
  readonly drainFlag: DrainFlag
  /** Names of hosts, kept over restarts; missing: none are kept. */
  readonly hostNames?: HostNames
  readonly engineFacts: EngineFacts
  /** True: this host has no peers, and no host can take anything over from it. */
  readonly alone: boolean
  /** Addresses of the hosts that run the registry's servers; empty with a NATS of the user's own. */
  readonly registryHosts: readonly string[]
  /**
   * How many of them must see no leader to prove that no bucket of the registry has one.
   * Infinity: nobody can know.
   */
  readonly leaderlessQuorum: number
  /** Aborts when the agent shuts down. */
  readonly signal: AbortSignal
}
