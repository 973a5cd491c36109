import type { Guard } from '../fence/contract.ts'
import type { HostRecord, Trouble, VolumeRecord } from '../model/model.ts'
import type { Versioned } from '../registry/contract.ts'
import type { LocalCopy } from '../store/contract.ts'

/** Hosts by their heartbeats, by host id. */
export interface HostDirectory {
  /** The newest record of a host; undefined: none was read yet. */
  get(id: string): HostRecord | undefined
  all(): readonly HostRecord[]
  /** Whether a heartbeat of the host was seen to change within the lease. */
  alive(id: string): boolean
  /** Time since the host's newest heartbeat came, as far as is known; Infinity: never heard of. */
  silentMs(id: string): number
  /**
   * The newest heartbeat that was read, and since when this host has seen it unchanged.
   * `seenMs` is on the clock's elapsedMs.
   */
  heartbeat(id: string): { readonly entry: Versioned<HostRecord>; readonly seenMs: number } | null
  /** Takes in heartbeats that were just read or written. */
  see(entries: readonly Versioned<HostRecord>[]): void
  /**
   * True: the registry has not replied for longer than a lease.
   * Nobody can tell from here who is alive.
   */
  readonly stale: boolean
  /** When the registry replied last (ISO 8601), or when this agent started if it has not since then. */
  readonly readAt: string
  /**
   * Whether a host that is not alive is away: true once heartbeats were watched for a lease.
   * Before that the agent may have read none, or old ones of a server that is behind.
   */
  readonly knowsAway: boolean
  /** Nothing was read since the agent started: not even the hosts' names are known. */
  readonly isEmpty: boolean
  /**
   * When a host that is away was last heard of.
   * ISO 8601 by this host's clock, or `otherwise` when it never was.
   * Null: it is alive, or nobody can tell yet.
   */
  awaySince(id: string, otherwise: string): string | null
  /** For how long a host has been away, for operators; null: it is alive. */
  describeAway(id: string): string | null
  /** "h2 (10.88.0.2)", or the id of a host nobody has heard of. A host keeps its name over restarts of this agent. */
  label(id: string): string
  /** "h2", or the id of a host nobody has heard of. */
  nameOf(id: string): string
  /** While nothing was read since the agent started: the hosts that an earlier agent has heard of. */
  readonly unheard: readonly { readonly id: string; readonly name: string; readonly address: string }[]
  /** "h2 (10.88.0.2), not heard from for 34 s" when it is away; or that it cannot write its disk. */
  labelWithAge(id: string): string
  /** Names of the containers that use a volume on a host, by its last heartbeat. */
  containers(host: string, volume: string): readonly string[]
}

/** This host's lease. Times are on the clock's elapsedMs. */
export interface Lease {
  readonly runs: boolean
  /**
   * In the past when the lease has expired.
   * -Infinity: this agent has had none, and knows of nobody who ended it.
   */
  readonly untilMs: number
  /**
   * Since when every renewal was acknowledged in time: the registry worked for as long.
   * A heartbeat that did not change meanwhile was not renewed. Infinity: it does not work now.
   */
  readonly unbrokenSinceMs: number
  /**
   * Expires the lease now, because this host cannot keep what it promises. One more heartbeat tells the others why.
   * Other hosts still wait until it would have expired.
   */
  giveUp(): void
  /** Allows renewals again; the lease runs from the next one on. */
  takeUp(): void
}

/** Ends the leases of lost hosts, by host id. */
export interface Expiry {
  /**
   * Time until the host's lease may be ended if it stays silent.
   * 0: now; Infinity: this host cannot tell.
   */
  inMs(host: string): number
  /**
   * How long a host must be silent before its lease may be ended.
   * The longer of its setting and this host's.
   */
  patienceMs(host: Pick<HostRecord, 'seizeAfterMs'>): number
  /**
   * Ends a host's lease by compare-and-set, or confirms that it has ended. May be repeated.
   * True: at this moment the host has no lease, and any later hold of it follows a heartbeat that replaces our write.
   * False: it is alive, or nobody can tell. Rejects REGISTRY_UNAVAILABLE.
   */
  end(host: string): Promise<boolean>
}

/** Volumes whose containers must not run past the lease: what the watchdog is told. */
export interface GuardedVolumes {
  /**
   * Takes in which copies a record shows on other hosts.
   * The read may be older than the write of the first copy, so a volume that is guarded stays so until its next hold.
   */
  learn(record: VolumeRecord, self: string): void
  /**
   * Another host is about to have a copy of the volume (id). Resolves once the watchdog knows.
   * Call it before the write that makes it so.
   */
  expect(id: string): Promise<void>
  /**
   * Resolves once the watchdog knows of a hold that it has to guard.
   * Call it before a container can write.
   */
  ensure(copy: Pick<LocalCopy, 'id' | 'options' | 'held'>): Promise<void>
  /** Whether the volume's containers here may run only while the lease does. Unknown counts as yes. */
  isGuarded(copy: Pick<LocalCopy, 'id' | 'options'>): boolean
  /** Whether the watchdog was told to guard this hold. It goes on unless a record of this hold names no other copy. */
  guards(copy: Pick<LocalCopy, 'id' | 'options' | 'held'>): boolean
  /** Tells the watchdog what is held, as the disk has it, and until when the lease runs. May be repeated. */
  tell(): Promise<void>
  /** The same in the background. Never fails: what the watchdog was told before has an end of its own. */
  tellSoon(): void
  /** What the watchdog has to guard now. */
  guard(): Promise<Guard>
}

/** Whether this host can write its state directory. */
export interface StateDiskHealth {
  /** Why nothing can be written; null: it can, as far as is known. */
  readonly trouble: Trouble | null
  /** Probes the disk soon if `error`, of a failed write, may mean that nothing can be written. */
  suspect(error: unknown): void
}

/** The copies of this disk, as they were last known. */
export interface LocalCopies {
  /** Whether there is one of a volume, by name. True as well while that is not known. */
  has(name: string): boolean
}
