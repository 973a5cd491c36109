import { SystemCallError } from '../../sys/failure.ts'
import { blockBytesOf, blockCountOf } from '../blocks/block-size.ts'
import { BlockSums, type Tagging } from './block-sums.ts'
import { DataRuns } from './data-runs.ts'
import type { Memory } from './memory.ts'

/** Small blocks are read several at once, but few enough to be in the processor's cache when they are hashed. */
const READ_BYTES = 256 * 1024

export interface HashBlocksTask {
  readonly fd: number
  readonly sizeBytes: number
  readonly first: number
  readonly count: number
  /** Null: tags are neither used nor made. */
  readonly tagging: Tagging | null
}

/** `BlockPool.hashBlocks` and `BlockPool.rehashBlocks`. */
export function hashBlocks(memory: Memory, { fd, sizeBytes, first, count, tagging }: HashBlocksTask) {
  // An empty file has no blocks, but a hash.
  if (first + count > Math.max(blockCountOf(sizeBytes), 1))
    throw new SystemCallError('hashBlocks', `fd ${fd}`, 'EINVAL')
  const blockBytes = blockBytesOf(sizeBytes)
  const end = Math.min((first + count) * blockBytes, sizeBytes)
  const runs = DataRuns.of(fd, sizeBytes)
  const sums = new BlockSums(memory, count, tagging)
  for (let block = first; block < first + count; ) {
    const start = block * blockBytes
    const stop = Math.min(start + blockBytes, end)
    runs.seek(start)
    if (runs.from >= stop) {
      sums.addHole(stop - start)
      block++
      continue
    }
    const until = runs.from <= start ? wholeBlocksUntil(start, Math.min(runs.to, end), blockBytes, end) : stop
    const buffer = memory.buffer(Math.max(READ_BYTES, blockBytes))
    runs.read(buffer, start, until)
    for (let at = start; at < until; at += blockBytes, block++) {
      sums.add(buffer.subarray(at - start, Math.min(at + blockBytes, until) - start))
    }
  }
  const { hashes, tags, hashedBlocks } = sums
  return { hashes: hashes as Uint8Array, tags, hashedBlocks }
}

export interface HashSomeTask {
  readonly fd: number
  readonly sizeBytes: number
  readonly blocks: Float64Array
  readonly tagging: Tagging
}

/** `BlockPool.rehashSome`. */
export function hashSome(memory: Memory, { fd, sizeBytes, blocks, tagging }: HashSomeTask) {
  const blockBytes = blockBytesOf(sizeBytes)
  const runs = DataRuns.of(fd, sizeBytes)
  const sums = new BlockSums(memory, blocks.length, tagging)
  const buffer = memory.buffer(blockBytes)
  for (const block of blocks) {
    const start = block * blockBytes
    const stop = Math.min(start + blockBytes, sizeBytes)
    if (stop <= start) throw new SystemCallError('hashSome', `fd ${fd}`, 'EINVAL')
    runs.seek(start)
    if (runs.from >= stop) {
      sums.addHole(stop - start)
      continue
    }
    runs.read(buffer, start, stop)
    sums.add(buffer.subarray(0, stop - start))
  }
  const { hashes, tags, hashedBlocks } = sums
  return { hashes: hashes as Uint8Array, tags, hashedBlocks }
}

/** Returns where the blocks end that are read together: those that are all data, at least one. */
function wholeBlocksUntil(start: number, dataEnd: number, blockBytes: number, end: number): number {
  const together = Math.min(start + READ_BYTES, dataEnd)
  if (together === end) return end
  return Math.max(together - (together % blockBytes), Math.min(start + blockBytes, end))
}
