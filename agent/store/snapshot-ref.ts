/** Names one tree of a copy on this host that can be opened for reading. */
export interface SnapshotRef {
  /** Id of the copy. */
  readonly id: string
  /**
   * `last`: the tree at the last quiet capture or apply.
   * `spool`: the checkpoint of a held volume, from the spool and, for what the spool lacks, from the live tree.
   * `live`: the tree at the last live capture.
   * `aside`: the tree at the last capture aside; this process alone knows of it.
   */
  readonly kind: 'last' | 'spool' | 'live' | 'aside'
}
