/**
 * First bytes of a manifest on disk and on the wire.
 * Then come the records (see record-codec.ts) and the trailer.
 */
export const MAGIC = Buffer.from('wherry manifest 2\n')
/** After the records: 0, then how many there were. */
export const TRAILER_BYTES = 5
export const MAX_ENTRIES = 5_000_000
/**
 * About 400 bytes for each of the most entries; offsets have 32 bits.
 * The stream of a hostile sender ends here.
 */
export const MAX_MANIFEST_BYTES = 2 * 1024 ** 3
/** Records are hashed, and a manifest is sent, in pieces of this size. */
export const CHUNK_BYTES = 1024 * 1024
