import { nextData } from '../../sys/files.ts'
import type { BlockRun } from '../tree-contract.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES } from './block-size.ts'
import { ZeroHashes } from './zero-hashes.ts'

/** Returns the block hashes of a file of this size that is one hole. */
export function holesList(sizeBytes: number): Buffer {
  const { whole, last } = new ZeroHashes().of(sizeBytes)
  const list = Buffer.allocUnsafeSlow(blockCountOf(sizeBytes) * HASH_BYTES).fill(whole)
  if (list.length > 0) last.copy(list, list.length - HASH_BYTES)
  return list
}

/**
 * Returns runs of at most `maxBlocks` blocks with all data of an open file; between them is hole.
 * Each run costs one call to the kernel, so a file costs what it holds, however large it is.
 */
export function* dataBlocks(
  fd: number,
  sizeBytes: number,
  maxBlocks: number,
): Generator<Pick<BlockRun, 'first' | 'count'>> {
  const blockBytes = blockBytesOf(sizeBytes)
  const blocks = blockCountOf(sizeBytes)
  for (let first = 0; first < blocks; ) {
    const data = nextData(fd, first * blockBytes)
    // Beyond `sizeBytes`: the file has grown since.
    if (data === null || data >= sizeBytes) return
    first = Math.max(first, Math.floor(data / blockBytes))
    const count = Math.min(maxBlocks, blocks - first)
    yield { first, count }
    first += count
  }
}
