import type { BlockRun } from '../tree-contract.ts'

/** Up to this size a file is one block: it is read, sent and staged whole. */
const SMALL_MAX_BYTES = 64 * 1024
/** Up to this size a larger file's changes are found and sent in pieces of the smallest block. */
const SMALLEST_UP_TO_BYTES = 1024 ** 3
/**
 * Two pages of PostgreSQL: a changed page costs little more than itself at every step.
 * A GiB has 2 MiB of hashes.
 */
const SMALLEST_BLOCK_BYTES = 16 * 1024
/** A block is in memory as a whole, several at a time. */
const LARGEST_BLOCK_BYTES = 4 * 1024 * 1024

/** Bytes of one block's hash (SHA-256). */
export const HASH_BYTES = 32

/**
 * Returns the block size of a file, by its size alone: both ends of a copy get the same.
 * 16 KiB up to 1 GiB, doubled with every fourfold size: a terabyte has two million blocks of 512 KiB (64 MiB of
 * hashes).
 * A small file is one block.
 */
export function blockBytesOf(sizeBytes: number): number {
  if (isSmall(sizeBytes)) return SMALL_MAX_BYTES
  let blockBytes = SMALLEST_BLOCK_BYTES
  for (let limit = SMALLEST_UP_TO_BYTES; sizeBytes > limit && blockBytes < LARGEST_BLOCK_BYTES; limit *= 4)
    blockBytes *= 2
  return blockBytes
}

/** Returns the number of blocks of a file; the last may be shorter. An empty file has none. */
export function blockCountOf(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytesOf(sizeBytes))
}

/** Whether a file has one block at most: its hash is that of its content, and it is sent and staged whole. */
export function isSmall(sizeBytes: number): boolean {
  return sizeBytes <= SMALL_MAX_BYTES
}

/** Returns runs of blocks of a file for which `wanted` holds. */
export function* runsOf(
  index: number,
  count: number,
  maxBlocks: number,
  wanted: (block: number) => boolean,
): Generator<BlockRun> {
  let first = 0
  while (first < count) {
    if (!wanted(first)) {
      first++
      continue
    }
    let end = first + 1
    while (end < count && end - first < maxBlocks && wanted(end)) end++
    yield { index, first, count: end - first }
    first = end
  }
}

/** Whether block `block` has the same hash in two lists. */
export function sameHash(a: Buffer, b: Buffer, block: number): boolean {
  const at = block * HASH_BYTES
  return at + HASH_BYTES <= a.length && a.compare(b, at, at + HASH_BYTES, at, at + HASH_BYTES) === 0
}

/** Whether entry `block` of a list is this hash. */
export function isHash(list: Buffer, block: number, hash: Buffer): boolean {
  const at = block * HASH_BYTES
  return list.compare(hash, 0, HASH_BYTES, at, at + HASH_BYTES) === 0
}

/** Returns rows of a table, one after the other; missing ones are zeros. */
export function pickRows(table: Buffer, rows: readonly number[], bytes: number): Buffer {
  const found = Buffer.alloc(rows.length * bytes)
  for (const [nth, row] of rows.entries()) {
    // Beyond its end `copy` throws instead of copying nothing.
    if (row * bytes < table.length) table.copy(found, nth * bytes, row * bytes, (row + 1) * bytes)
  }
  return found
}
