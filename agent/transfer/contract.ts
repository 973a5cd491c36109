import type { Checkpoint, Trouble, VolumeOptions, VolumeRecord } from '../model/model.ts'
import type { SnapshotRef, StageProgress, TreeReader, TreeWriter } from '../store/tree-contract.ts'

/** The tree that a host requests from another. `live`: the tree as it is now, to pre-seed a copy. */
export interface TreeRequest {
  readonly volume: string
  /**
   * The volume's epoch as the requesting host knows it. A source that knows a higher one rejects with STALE_EPOCH
   * (promise 8).
   */
  readonly epoch: number
  readonly want: { readonly kind: 'live' } | { readonly kind: 'checkpoint'; readonly hash: string }
}

/** The host at the other end of a connection, by its certificate, which the cluster's CA has signed. */
export interface PeerIdentity {
  /** For logs. */
  readonly name: string
  /** The certificate's subject alternative names: `isMadeOutFor` (host/certificate-names.ts) compares an address. */
  readonly altNames: string
}

/** Decides on requests of other hosts. Rejections with a coded error reach the requesting host as they are. */
export type TreeChooser = (request: TreeRequest, peer: PeerIdentity, signal: AbortSignal) => Promise<SnapshotRef>

/**
 * Opens the chosen tree; given to the transfer server.
 * Rejections with a coded error reach the requesting host as they are.
 */
export type TreeSource = (request: TreeRequest, peer: PeerIdentity, signal: AbortSignal) => Promise<TreeReader>

export interface PullResult {
  /** Hash of the received manifest. */
  readonly hash: string
  /** Bytes of file content that crossed the network in this pull. */
  readonly bytes: number
  /** True when every file the manifest names is staged. */
  readonly complete: boolean
}

export interface Puller {
  /**
   * Fetches one tree from a host into `writer`. May be repeated after any failure: staged data is not sent again.
   * Rejects with the source's coded error, TRANSFER_CUT (connection lost, peer silent for too long), or TLS_REFUSED.
   */
  pull(
    from: { address: string; port: number },
    request: TreeRequest,
    writer: TreeWriter,
    signal: AbortSignal,
  ): Promise<PullResult>
}

/** What a host reports about its copy of one volume. */
export interface CopyReply {
  readonly host: string
  /** Highest epoch its disk has seen. */
  readonly epochSeen: number
  /** Its newest committed checkpoint; null: it has none that can be used. */
  readonly checkpoint: Checkpoint | null
  /** It has held the volume, and its disk does not say that this has ended. False for a hold that was only intended. */
  readonly held: boolean
}

/** A query of one host to another, over TLS. It gets through where the registry does not. */
export type Query =
  /** Asks for the other host's copy. Reply: CopyReply, or null when there is none. */
  | { readonly kind: 'copy'; readonly volume: string }
  /**
   * Offers a new checkpoint to a host with a copy, to be fetched from the offering host.
   * The reply comes when it is committed and applied; a repeated offer joins the running pull. Reply: CopyReply.
   */
  | { readonly kind: 'offer'; readonly record: VolumeRecord; readonly checkpoint: Checkpoint; readonly from: string }
  /** Asks whether the other host sees a leader of the registry's lease stream. Reply: LeaderView. */
  | { readonly kind: 'registry' }
  /**
   * Asks what on the other host's engine and in its Swarm refers to the volume now.
   * `removing`: nothing does as far as the asking host knows; a holder then gives the volume up.
   * Reply: ReferenceReply (mobility/volume/own-references.ts).
   */
  | { readonly kind: 'references'; readonly volume: string; readonly name: string; readonly removing: boolean }
  /**
   * Asks the holder to give up a volume that no container uses.
   * `release`: release it now, or say why not. `tree`, `removal`: give it up without a release, so that the asking
   * host may write the record; for `tree` it fetches the holder's data first. Reply: SurrenderReply.
   */
  | {
      readonly kind: 'surrender'
      readonly volume: string
      readonly epoch: number
      readonly incarnation: string
      readonly want: 'release' | 'tree' | 'removal'
    }
  /**
   * Asks whether an idle copy still equals its checkpoint.
   * `doubted`: data from it did not. If the scan then finds no difference, all of it is read again in the background.
   * Reply: ComparisonReply (mobility/failover/sound-candidates.ts).
   */
  | { readonly kind: 'compare'; readonly volume: string; readonly doubted: boolean }
  /**
   * Asks for all copies on the other host's disk, after a loss of the registry. Reply: Inventory
   * (mobility/recovery/inventory.ts).
   */
  | { readonly kind: 'inventory' }

/** A holder's reply when it is asked to give up a volume. */
export interface SurrenderReply {
  /**
   * `idle`: the volume is not held by that hold. `stuck`: it cannot be given up, or not yet.
   * `given-up`: it is unmounted, and mounted again only after a write to the record.
   */
  readonly outcome: 'idle' | 'in-use' | 'stuck' | 'given-up'
  /** Names of the containers that use it. */
  readonly containers: readonly string[]
  /** `stuck`: the reason, or null while the release runs. `given-up`: why `final` is null. */
  readonly trouble: Trouble | null
  /** The tree as it was left: it may be requested by this hash. */
  readonly final: Checkpoint | null
}

export interface Peers {
  /**
   * Sends a query to one host. May be repeated.
   * Rejects with the host's coded error, TRANSFER_CUT (not reached, or silent for too long), TLS_REFUSED, or
   * `signal`'s
   * reason. The reply is JSON; the caller must check its shape.
   */
  ask(host: { address: string; port: number }, question: Query, signal: AbortSignal): Promise<unknown>
}

/**
 * Replies to queries of other hosts, whose fields were checked.
 * `signal` aborts when the asking host is gone, within 10 s also after a silent death.
 * The reply is sent as JSON, undefined as null. Rejections with a coded error reach the asking host as they are.
 */
export type QueryHandler = (question: Query, peer: PeerIdentity, signal: AbortSignal) => Promise<unknown>

/** Fetches trees of other hosts into the stages of copies here. */
export interface VolumePuller {
  /**
   * Fetches one tree from a host into the volume's stage; one pull per volume at a time (COPY_RUNNING).
   * May be repeated after any failure: staged data is not sent again.
   * `onProgress` is called a few times a second and at the end.
   * Rejects with the source's coded error, TRANSFER_CUT, TLS_REFUSED or DISK_FULL; the stage is closed then.
   */
  pull(
    from: { address: string; port: number },
    request: TreeRequest,
    volume: { id: string; name: string; options: VolumeOptions },
    signal: AbortSignal,
    onProgress: (progress: StageProgress) => void,
  ): Promise<PullResult>
}
