import type { ZeroHashes } from '../blocks/zero-hashes.ts'
import { type BlockRun, HOLES_MAX_BLOCKS, RUN_MAX_BYTES } from '../tree-contract.ts'
import { isEmptyBlock } from './local-blocks.ts'
import type { StagedFile } from './staged-file.ts'

/**
 * Returns runs of blocks that are missing; `list` has the hashes of all.
 * Blocks of zeros form far longer runs: nearly all are holes without data, and a file of a terabyte has millions.
 */
export function* requestedRuns(file: StagedFile, list: Buffer, zeros: ZeroHashes): Generator<BlockRun> {
  const { index, count } = file
  const most = Math.max(RUN_MAX_BYTES / file.blockBytes, 1)
  const hashes = zeros.of(file.sizeBytes)
  const isZeros = (block: number) => !file.good(block) && isEmptyBlock(list, block, count, hashes)
  for (let first = 0; first < count; ) {
    if (file.good(first)) {
      first++
      continue
    }
    let end = first
    while (end < count && end - first < HOLES_MAX_BLOCKS && isZeros(end)) end++
    while (end < count && end - first < most && !file.good(end)) end++
    yield { index, first, count: end - first }
    first = end
  }
}
