import type { Need, TreeReader, TreeWriter } from '../store/contract.ts'

export type { Need, TreeReader, TreeWriter }

/** What a host asks another for. `live`: whatever the tree is now, to send ahead. */
export interface TreeRequest {
  readonly volume: string
  /** The asker's view of the volume's epoch; a source that knows a higher one refuses STALE_EPOCH (promise 8). */
  readonly epoch: number
  readonly want: { readonly kind: 'live' } | { readonly kind: 'checkpoint'; readonly hash: string }
}

/** Answers requests of other hosts; handed to the transfer server. Rejections with a coded error reach the asker as they are. */
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
