import type { VolumeOptions } from '../model.ts'
import type { StageProgress, TreeReader, TreeWriter } from '../store/exchange.ts'

/** What a host asks another for. `live`: whatever the tree is now, to send ahead. */
export interface TreeRequest {
  readonly volume: string
  /** The asker's view of the volume's epoch; a source that knows a higher one refuses STALE_EPOCH (promise 8). */
  readonly epoch: number
  readonly want: { readonly kind: 'live' } | { readonly kind: 'checkpoint'; readonly hash: string }
}

/** Which tree of this host answers a request: a volume's last checkpoint, or its live capture. */
export interface TreeChoice {
  readonly id: string
  readonly kind: 'last' | 'live'
}

/** Decides on requests of other hosts. Rejections with a coded error reach the asker as they are. */
export type TreeChooser = (
  request: TreeRequest,
  peer: { readonly name: string },
  signal: AbortSignal,
) => Promise<TreeChoice>

/** Opens what was decided on; handed to the transfer server. Rejections with a coded error reach the asker as they are. */
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
