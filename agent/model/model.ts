import type { VolumeOptions } from './volume-options.ts'

/** Types of what hosts store and send each other. Every folder of the agent may import this file. */

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
  /** ISO 8601, the clock of the host that took over. */
  readonly at: string
  /** The checkpoint from which the volume continued. */
  readonly base: { readonly epoch: number; readonly seq: number; readonly hash: string }
  /** Age of that checkpoint when the holder had to stop writing. At most the writes of that time are lost. */
  readonly ageSeconds: number
}

export type CopyState = 'current' | 'behind' | 'filling' | 'diverged'

/** What the registry knows of one host's copy. */
export interface CopyRecord {
  readonly epoch: number
  readonly seq: number
  /**
   * That checkpoint with its hash.
   * Missing, or with another epoch or number: an older release wrote it, and the hash is not known.
   */
  readonly checkpoint?: Pick<Checkpoint, 'epoch' | 'seq' | 'hash'> | undefined
  readonly state: CopyState
  readonly at: string
  /** True: the host is to keep it, and it stays until enough others are current. False: it only prepares a move. */
  readonly kept: boolean
}

/** The host that may write the volume. `incarnation` is random per hold: by it a writer recognises its own write. */
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
  /** The fencing token: counts holders. Each hold and each failover raises it by compare-and-set. It never drops. */
  readonly epoch: number
  readonly holder: Holder | null
  /** The newest committed checkpoint; null while the volume has never been released. */
  readonly last: Checkpoint | null
  /** Newest last, bounded. From them a returning host knows whether the cluster continued from its tree. */
  readonly seizures: readonly Seizure[]
  /**
   * What was cut off that list: the highest epoch, and the hosts that lost the volume.
   * Missing: nothing was cut, or an older release cut it.
   */
  readonly seizuresCut?: { readonly epoch: number; readonly hosts: readonly string[] } | undefined
  /** By host id. */
  readonly copies: Readonly<Record<string, CopyRecord>>
  /** Set once a removal has begun: no host may hold the volume again, and its name is about to be free. */
  readonly removedAt: string | null
  /** Ids of hosts that were away and that the removal gave up. They set their copies aside when they return. */
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

/** Proof that a volume was removed. Without it no host moves its copy to the trash. */
export interface RemovedRecord {
  readonly id: string
  readonly name: string
  readonly removedAt: string
  /** Ids of the hosts that still have a copy to move to the trash. */
  readonly hosts: readonly string[]
  /** Those of them that were given up. They set their copies aside, and only an operator deletes those. */
  readonly lost?: readonly string[] | undefined
}

/** A checkpoint that another host has. Without a hash: an older release wrote it. */
export interface CoveredCheckpoint {
  readonly epoch: number
  readonly seq: number
  readonly hash?: string | undefined
  /** It has everything that was written until then. ISO 8601, the holder's clock. */
  readonly at: string
}

/** Why a host cannot do something, as hosts report it to each other. */
export interface Trouble {
  /** The errno's name (EROFS) or one of the error codes. */
  readonly code: string
  /** One line for the operator, shortened. */
  readonly text: string
  /** ISO 8601, the clock of the host that reports it. */
  readonly since: string
}

/** A host's lease, renewed with every heartbeat. */
export interface HostRecord {
  /** Made once, kept on the host's disk. */
  readonly id: string
  /** The engine's name for the host (its host name), for messages. */
  readonly name: string
  /** Address and port on which other agents reach this one's transfer server. */
  readonly address: string
  readonly transferPort: number
  /** Random per start of the agent. */
  readonly incarnation: string
  /** Of Wherry. Missing: an older release wrote it. */
  readonly version?: string | undefined
  /** The Swarm node id, null outside a Swarm. */
  readonly swarmNode: string | null
  /** How many volumes this host holds. Missing: an older release wrote it. */
  readonly holds?: number | undefined
  /** By volume id, bounded: names of the containers that use a volume held here. */
  readonly uses: Readonly<Record<string, readonly string[]>>
  /**
   * Names of the containers in any state, by the names of the volumes they mount.
   * Undefined: the host does not know, or there are too many to list.
   */
  readonly referrers?: Readonly<Record<string, readonly string[]>> | undefined
  /** By volume id, bounded, for volumes held here: the newest checkpoint that another host has. */
  readonly covered: Readonly<Record<string, CoveredCheckpoint>>
  /** By volume id, bounded: how many diverged trees of which volumes are on this host. */
  readonly diverged: Readonly<Record<string, number>>
  /** Names of volumes that this host's engine also has as a volume of its own driver `local`; at most 100 of them. */
  readonly namesakes: readonly string[]
  /**
   * By volume id, bounded: volumes that no container uses here any more and that this host cannot release.
   * Missing: an older release wrote it.
   */
  readonly stuck?: Readonly<Record<string, Trouble>> | undefined
  /**
   * By volume id, bounded: volumes held here whose newest checkpoint does not reach another host.
   * Missing: an older release wrote it.
   */
  readonly late?: Readonly<Record<string, Trouble>> | undefined
  /**
   * By volume id, bounded: idle copies here that were found damaged, with the first damaged path.
   * Missing: an older release wrote it.
   */
  readonly damaged?: Readonly<Record<string, string>> | undefined
  /** Why this host cannot write its state directory; null or missing: it can. */
  readonly unwritable?: Trouble | null | undefined
  /** Time of this heartbeat, ISO 8601, the host's own clock. */
  readonly at: string
  /** Counts renewals since the agent started. With `incarnation` it identifies the write. */
  readonly renewal: number
  /** Id of the host that expired this lease; null: it runs. */
  readonly expiredBy: string | null
  /**
   * How long this host's lease runs, and how long it must be silent before others may expire it.
   * Missing: an older release wrote it; the reader's own settings count.
   */
  readonly leaseMs?: number | undefined
  readonly seizeAfterMs?: number | undefined
  /** Space for volumes on the host's disk. */
  readonly freeBytes: number
  readonly totalBytes: number
  /** The Swarm node's label `zone`; null: none. */
  readonly zone: string | null
  /** The operator asked for all copies to leave, or Swarm has drained the node. */
  readonly draining: boolean
  /** A digest of its WHERRY_PEERS, to find lists that differ. Missing: an older release wrote it. */
  readonly peers?: string | undefined
  /** When the host's certificate ends, ISO 8601; null: it needs none. Missing: an older release wrote it. */
  readonly certificateEnds?: string | null | undefined
  /** Proves that the host wrote it. Missing: the host has no peers, or an older release wrote it. */
  readonly seal?: Seal | undefined
}

/** A host's signature over a record (`agent/registry/host-seal.ts`). */
export interface Seal {
  /** The host's certificate and intermediates, PEM. */
  readonly certificate: string
  /** Names of the fields that are signed. */
  readonly fields: readonly string[]
  /** Base64. */
  readonly signature: string
}
