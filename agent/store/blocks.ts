/** Up to this size a file's changes are found and sent in pieces of the smallest block. */
const SMALLEST_UP_TO_BYTES = 1024 ** 3
/** Eight pages of a database: small enough that a changed page costs little, 512 KiB of hashes for a GiB. */
const SMALLEST_BLOCK_BYTES = 64 * 1024
/** A block is held in memory whole, several at a time. */
const LARGEST_BLOCK_BYTES = 4 * 1024 * 1024

/** Bytes of one block's hash (SHA-256). */
export const HASH_BYTES = 32

/**
 * Block size of a file: 64 KiB up to 1 GiB, doubled with every fourfold size, so that a terabyte has half a million
 * blocks of 2 MiB (16 MiB of hashes). Depends on the size alone: both ends of a copy find the same.
 */
export function blockBytesOf(sizeBytes: number): number {
  let blockBytes = SMALLEST_BLOCK_BYTES
  for (let limit = SMALLEST_UP_TO_BYTES; sizeBytes > limit && blockBytes < LARGEST_BLOCK_BYTES; limit *= 4)
    blockBytes *= 2
  return blockBytes
}

/** Blocks of a file; the last may be shorter. An empty file has none. */
export function blockCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytesOf(sizeBytes))
}

/** Whether a file is one block at most: its hash is then that of its content, and it is sent and staged whole. */
export function isSmall(sizeBytes: number): boolean {
  return sizeBytes <= SMALLEST_BLOCK_BYTES
}
