import type { VolumeOptions } from './volume-options.ts'

/** What hosts store and tell each other, as types. Every folder of the agent may import this file. */

export type { VolumeOptions }

/** A point-in-time state of a volume. `hash` covers every path, attribute and byte of the tree. */
export interface Checkpoint {
  readonly epoch: number
  readonly seq: number
  /** Hex SHA-256 over the manifest's entries. */
  readonly hash: string
  /** ISO 8601, the capturing host's clock. */
  readonly at: string
  /** Sum of the sizes of all regular files. */
  readonly bytes: number
  /** Number of entries of any kind, the root directory not counted. */
  readonly files: number
}

/** How a volume was taken over from a holder that was lost. */
export interface Seizure {
  /** The epoch that began with it. */
  readonly epoch: number
  /** Hosts by id. */
  readonly from: string
  readonly by: string
  /** ISO 8601, the clock of the host that seized. */
  readonly at: string
  /** Where the volume went on from. */
  readonly base: { readonly epoch: number; readonly seq: number; readonly hash: string }
  /** Age of that checkpoint when its holder must have stopped writing: at most what was written in that time is lost. */
  readonly ageSeconds: number
}

export type CopyState = 'current' | 'behind' | 'filling' | 'diverged'

/** What the registry knows of one host's copy. */
export interface CopyRecord {
  readonly epoch: number
  readonly seq: number
  /**
   * That checkpoint with its hash. Missing, or of another epoch and number: written by an older release; the hash is
   * not known then.
   */
  readonly checkpoint?: Pick<Checkpoint, 'epoch' | 'seq' | 'hash'> | undefined
  readonly state: CopyState
  readonly at: string
  /** The host has it to keep, not only because a move may come: it stays until enough others are current. */
  readonly kept: boolean
}

/** Who may write the volume now. `incarnation` is random per hold, so that a writer can recognise its own write. */
export interface Holder {
  readonly host: string
  readonly incarnation: string
  readonly since: string
}

/** The registry's entry of one volume. The key is the volume's name; `id` (a ULID) never changes. */
export interface VolumeRecord {
  readonly id: string
  readonly name: string
  readonly options: VolumeOptions
  readonly createdAt: string
  /** Counts holders; goes up by compare-and-set at every hold and seize, never down. The fencing token. */
  readonly epoch: number
  readonly holder: Holder | null
  /** The newest committed checkpoint; null while the volume has never been released. */
  readonly last: Checkpoint | null
  /** Newest last, bounded: by them a host that returns tells whether its tree is one the cluster went on from. */
  readonly seizures: readonly Seizure[]
  /**
   * What was cut off that list: the highest epoch, and the hosts that lost the volume. Missing: nothing, or an older
   * release cut it.
   */
  readonly seizuresCut?: { readonly epoch: number; readonly hosts: readonly string[] } | undefined
  /** By host id. */
  readonly copies: Readonly<Record<string, CopyRecord>>
  /** Set once a removal has begun: nobody may hold the volume again, the name is about to be free. */
  readonly removedAt: string | null
  /** Ids of hosts that the removal gave up while they were away: what they have is set aside when they return. */
  readonly lost?: readonly string[] | undefined
  /** A removed volume of the same name whose data some host still had when this one was created. */
  readonly predecessor?: Predecessor | undefined
}

/** What is left of a removed volume. */
export interface Predecessor {
  readonly id: string
  /** Ids of the hosts that have its data. */
  readonly hosts: readonly string[]
  /** ISO 8601: the trash keeps it at least until then; null: it stays until an operator deletes it. */
  readonly until: string | null
}

/** Proof that a volume was removed: only on its word does a host put its copy into the trash. */
export interface RemovedRecord {
  readonly id: string
  readonly name: string
  readonly removedAt: string
  /** Ids of the hosts that still have a copy to put away. */
  readonly hosts: readonly string[]
  /** Those of them that were given up: what they have is set aside, and never deleted by itself. */
  readonly lost?: readonly string[] | undefined
}

/** A checkpoint that another host has, and until when it had everything. Without a hash: an older release wrote it. */
export interface CoveredCheckpoint {
  readonly epoch: number
  readonly seq: number
  readonly hash?: string | undefined
  /** ISO 8601, the holder's clock. */
  readonly at: string
}

/** Why something does not get done, as hosts tell each other. */
export interface Trouble {
  /** The errno's name (EROFS) or one of the error codes. */
  readonly code: string
  /** One line for people, shortened. */
  readonly text: string
  /** ISO 8601, by the clock of the host that has it. */
  readonly since: string
}

/** A host's proof of life, renewed every heartbeat. */
export interface HostRecord {
  /** Made once, kept on the host's disk. */
  readonly id: string
  /** The engine's name for the host (its host name), for people. */
  readonly name: string
  /** Address and port on which other agents reach this one's transfer server. */
  readonly address: string
  readonly transferPort: number
  /** Random per start of the agent. */
  readonly incarnation: string
  /** The Swarm node id, null outside a Swarm. */
  readonly swarmNode: string | null
  /** Names of the containers that use a volume on this host, by volume id. */
  readonly uses: Readonly<Record<string, readonly string[]>>
  /**
   * Names of the containers in any state, by the names of the volumes they mount. Undefined: the host does not know, or
   * has too many to say.
   */
  readonly referrers?: Readonly<Record<string, readonly string[]>> | undefined
  /** By volume id: the newest checkpoint of a volume held here that another host has, and until when it had everything (this host's clock). */
  readonly covered: Readonly<Record<string, CoveredCheckpoint>>
  /** How many diverged trees of which volumes are on this host, by volume id. */
  readonly diverged: Readonly<Record<string, number>>
  /** Names of volumes that this host's engine also has as a volume of its own driver `local`; at most 100 of them. */
  readonly namesakes: readonly string[]
  /**
   * By volume id, bounded: volumes that no container uses here any more and that this host cannot release. Missing: an
   * older version wrote it.
   */
  readonly stuck?: Readonly<Record<string, Trouble>> | undefined
  /**
   * By volume id, bounded: idle copies here that were found not to be their checkpoint, with the first path. Missing:
   * an older version wrote it.
   */
  readonly damaged?: Readonly<Record<string, string>> | undefined
  /** Why this host cannot write its state directory; null or missing: it can. */
  readonly unwritable?: Trouble | null | undefined
  /** Time of this heartbeat, ISO 8601, the host's own clock. */
  readonly at: string
  /** Counts this host's renewals since its agent started; with `incarnation` it tells a host which of its writes this is. */
  readonly renewal: number
  /** Id of the host that declared this lease over; null: it runs. */
  readonly expiredBy: string | null
  /**
   * How long this host's lease runs, and how long it must have been silent before others may end it. Missing: an older
   * release; as here.
   */
  readonly leaseMs?: number | undefined
  readonly seizeAfterMs?: number | undefined
  /** Space for volumes on the host's disk. */
  readonly freeBytes: number
  readonly totalBytes: number
  /** The Swarm node's label `zone`; null: none. */
  readonly zone: string | null
  /** A person asked for all copies to leave, or Swarm has drained the node. */
  readonly draining: boolean
}
