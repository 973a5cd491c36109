/**
 * First bytes of a manifest on disk and on the wire.
 * Then come the records (see record-codec.ts) and the trailer.
 */
export const MAGIC = Buffer.from('wherry manifest 2\n')
/** After the records: 0, then how many there were. */
export const TRAILER_BYTES = 5
export const MAX_ENTRIES = 5_000_000
/** About 200 bytes for each of the most entries. The stream of a hostile sender ends here. */
export const MAX_MANIFEST_BYTES = 1024 ** 3
/** Memory for the names of one directory while it is read: 5 million of 80 bytes, or 1.9 million of 255. */
export const MAX_NAMES_BYTES = 512 * 1024 ** 2

/** The largest tree that is read. */
export interface TreeLimits {
  readonly entries: number
  readonly manifestBytes: number
  /** Of one directory. */
  readonly namesBytes: number
}

export const TREE_LIMITS: TreeLimits = {
  entries: MAX_ENTRIES,
  manifestBytes: MAX_MANIFEST_BYTES,
  namesBytes: MAX_NAMES_BYTES,
}

/** A tree beyond the limits. The message follows "Volume data ". */
export class TreeTooLarge extends Error {
  override readonly name = 'TreeTooLarge'
}

export function tooManyEntries(limits: TreeLimits): TreeTooLarge {
  return new TreeTooLarge(`has more than ${limits.entries.toLocaleString('en')} files and directories`)
}
/** Records are hashed, and a manifest is sent, in pieces of this size. */
export const CHUNK_BYTES = 1024 * 1024
