import type { Checkpoint, Trouble, VolumeOptions, VolumeRecord } from '../model/model.ts'
import type { SnapshotRef, StageProgress, TreeReader, TreeWriter } from '../store/tree-contract.ts'

/** What a host asks another for. `live`: whatever the tree is now, to send ahead. */
export interface TreeRequest {
  readonly volume: string
  /** The asker's view of the volume's epoch; a source that knows a higher one refuses STALE_EPOCH (promise 8). */
  readonly epoch: number
  readonly want: { readonly kind: 'live' } | { readonly kind: 'checkpoint'; readonly hash: string }
}

/** Decides on requests of other hosts. Rejections with a coded error reach the asker as they are. */
export type TreeChooser = (
  request: TreeRequest,
  peer: { readonly name: string },
  signal: AbortSignal,
) => Promise<SnapshotRef>

/**
 * Opens what was decided on; handed to the transfer server. Rejections with a coded error reach the asker as they
 * are.
 */
export type TreeSource = (
  request: TreeRequest,
  peer: { readonly name: string },
  signal: AbortSignal,
) => Promise<TreeReader>

export interface PullResult {
  /** Hash of the manifest that came. */
  readonly hash: string
  /** Bytes of file content that crossed the network in this pull. */
  readonly bytes: number
  /** True when every file the manifest names is staged. */
  readonly complete: boolean
}

export interface Puller {
  /**
   * Brings one tree from a host into `writer`. May be repeated after any failure: what was staged is not sent again.
   * Rejects with the source's coded error, or TRANSFER_CUT (connection lost, peer silent for too long), TLS_REFUSED.
   */
  pull(
    from: { address: string; port: number },
    request: TreeRequest,
    writer: TreeWriter,
    signal: AbortSignal,
  ): Promise<PullResult>
}

/** What a host says of its copy of one volume. */
export interface CopyAnswer {
  readonly host: string
  /** Highest epoch its disk has seen. */
  readonly epochSeen: number
  /** Its newest committed checkpoint; null: it has none that can be used. */
  readonly checkpoint: Checkpoint | null
  /** It has held the volume, and its disk does not say that this is over; not true of a hold that was only intended. */
  readonly held: boolean
}

/** One host's question to another, straight over TLS: it gets through where the registry does not. */
export type Question =
  /** What is your copy? Answer: CopyAnswer, or null when there is none. */
  | { readonly kind: 'copy'; readonly volume: string }
  /**
   * Here is a new checkpoint of a volume you have a copy of: get it from me. Answered when it is committed and
   * applied, or with the error that kept it from being so; asking again joins the pull that runs. Answer: CopyAnswer.
   */
  | { readonly kind: 'offer'; readonly record: VolumeRecord; readonly checkpoint: Checkpoint; readonly from: string }
  /** Do you see a leader of the registry's stream of leases? Answer: RegistrySight. */
  | { readonly kind: 'registry' }
  /**
   * What on your engine and in your Swarm refers to this volume, now? `removing`: nothing does as far as the asker knows; a holder lets go of it.
   * Answer: ReferenceAnswer (mobility/own-references.ts).
   */
  | { readonly kind: 'references'; readonly volume: string; readonly name: string; readonly removing: boolean }
  /**
   * Let go of a volume that you hold by this hold and that no container uses. `release`: release it now, or say what
   * keeps you from it. `tree`, `removal`: give it up without a release, so that I may write the record; with `tree` I
   * want what you have first. Answer: SurrenderAnswer.
   */
  | {
      readonly kind: 'surrender'
      readonly volume: string
      readonly epoch: number
      readonly incarnation: string
      readonly want: 'release' | 'tree' | 'removal'
    }
  /**
   * Is your copy, which nobody uses, what its checkpoint says? `doubted`: what came from you was not. Then all of it is
   * read again, in the background, if a look shows nothing. Answer: ComparisonAnswer (mobility/comparison.ts).
   */
  | { readonly kind: 'compare'; readonly volume: string; readonly doubted: boolean }
  /** All copies on your disk, for a registry that was lost. Answer: Inventory (mobility/recover-inventory.ts). */
  | { readonly kind: 'inventory' }

/** What a holder says that was asked to let a volume go. */
export interface SurrenderAnswer {
  /**
   * `idle`: the volume is not held by that hold; `stuck`: it cannot be let go, or not yet; `given-up`: it is unmounted,
   * and mounted again only after a write to the record.
   */
  readonly outcome: 'idle' | 'in-use' | 'stuck' | 'given-up'
  /** Names of the containers that use it. */
  readonly containers: readonly string[]
  /** `stuck`: what keeps it, null: it is being released; `given-up`: why `final` is null. */
  readonly trouble: Trouble | null
  /** The tree as it was left: it may be asked for by this hash. */
  readonly final: Checkpoint | null
}

export interface Peers {
  /**
   * Asks one host. Rejects with the host's coded error, TRANSFER_CUT (not reached, or silent for too long),
   * TLS_REFUSED, or `signal`'s reason. May be repeated. The answer is JSON whose shape the asker must check.
   */
  ask(host: { address: string; port: number }, question: Question, signal: AbortSignal): Promise<unknown>
}

/**
 * Answers other hosts' questions; every field was checked. `signal` aborts when the asker is gone, within 10 s also
 * when it died without a word. The answer is sent as JSON, undefined as null. Rejections with a coded error reach the
 * asker as they are.
 */
export type QuestionAnswerer = (
  question: Question,
  peer: { readonly name: string },
  signal: AbortSignal,
) => Promise<unknown>

/** Brings trees of other hosts into the stages of copies here. */
export interface VolumePuller {
  /**
   * Brings one tree from a host into the volume's stage; one pull per volume at a time (COPY_RUNNING). May be repeated
   * after any failure: what was staged is not sent again. `onProgress` is called a few times a second and at the end.
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
