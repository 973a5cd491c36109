import type { BlockRun } from '../tree-contract.ts'

/** Up to this size a file is one block: it is read, sent and staged whole. */
const SMALL_MAX_BYTES = 64 * 1024
/** Up to this size a larger file's changes are found and sent in pieces of the smallest block. */
const SMALLEST_UP_TO_BYTES = 1024 ** 3
/** Two pages of PostgreSQL: a changed page costs little more than itself at every step, and a GiB has 2 MiB of hashes. */
const SMALLEST_BLOCK_BYTES = 16 * 1024
/** A block is held in memory whole, several at a time. */
const LARGEST_BLOCK_BYTES = 4 * 1024 * 1024

/** Bytes of one block's hash (SHA-256). */
export const HASH_BYTES = 32

/**
 * Block size of a file: 16 KiB up to 1 GiB, doubled with every fourfold size, so that a terabyte has two million
 * blocks of 512 KiB (64 MiB of hashes). A small file is one block. Depends on the size alone: both ends of a copy find the same.
 */
export function blockBytesOf(sizeBytes: number): number {
  if (isSmall(sizeBytes)) return SMALL_MAX_BYTES
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
  return sizeBytes <= SMALL_MAX_BYTES
}

/** Runs of blocks of a file for which `wanted` holds. */
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

/** Whether entry `block` of a list is this one hash. */
export function isHash(list: Buffer, block: number, hash: Buffer): boolean {
  const at = block * HASH_BYTES
  return list.compare(hash, 0, HASH_BYTES, at, at + HASH_BYTES) === 0
}

/** Rows of a table, one after the other; those that it does not have are zeros. */
export function rowsOf(table: Buffer, rows: readonly number[], bytes: number): Buffer {
  const found = Buffer.alloc(rows.length * bytes)
  for (const [nth, row] of rows.entries()) {
    // Beyond its end `copy` throws, it does not copy nothing.
    if (row * bytes < table.length) table.copy(found, nth * bytes, row * bytes, (row + 1) * bytes)
  }
  return found
}
