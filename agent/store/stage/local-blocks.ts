import { closeSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, isHash } from '../blocks/block-size.ts'
import { dataBlocks, holesList } from '../blocks/data-blocks.ts'
import type { ZeroHashes } from '../blocks/zero-hashes.ts'
import { openOwn } from '../inode/directory.ts'
import type { Mirror } from '../inode/mirror.ts'
import type { Plan } from '../manifest/plan.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockPool } from '../workers/contract.ts'

/** Bytes that one task hashes: enough to outweigh its message, few enough to spread and to stop. */
const HASH_CALL_BYTES = 8 * 1024 * 1024

/** Hashes all blocks of an open file with all threads of the pool. */
export async function hashFile(pool: BlockPool, fd: number, sizeBytes: number, signal: AbortSignal): Promise<Buffer> {
  const list = holesList(sizeBytes)
  const calls = dataBlocks(fd, sizeBytes, HASH_CALL_BYTES / blockBytesOf(sizeBytes))
  await forEachLimit(calls, 2 * pool.threads, async ({ first, count }) => {
    signal.throwIfAborted()
    const hashes = await pool.hashBlocks(fd, sizeBytes, first, count)
    hashes.copy(list, first * HASH_BYTES)
  })
  return list
}

/**
 * Returns the block hashes of this host's version of a `blocks` file as if it had the target's size.
 * See Stage.ownList.
 */
export async function ownBlocks(
  plan: Plan,
  index: number,
  mine: Snapshot,
  parts: { readonly pool: BlockPool; readonly tree: Mirror; readonly zeros: ZeroHashes },
  signal: AbortSignal,
): Promise<Buffer> {
  const partner = plan.partner(index)
  const [sizeBytes, mineBytes] = [plan.target.file(index).sizeBytes, mine.manifest.file(partner).sizeBytes]
  if (blockBytesOf(sizeBytes) === blockBytesOf(mineBytes)) {
    const list = await mine.lists.list(partner)
    if (list !== null) return seenAtSize(list, mineBytes, sizeBytes, parts.zeros)
  }
  const fd = parts.tree.within(mine.manifest, partner, openOwn)
  try {
    return await hashFile(parts.pool, fd, sizeBytes, signal)
  } finally {
    closeSync(fd)
  }
}

/**
 * Returns the list of a file that is cut, or made longer by zeros.
 * A block of unknown content gets a hash of zeros, which no content has.
 */
export function seenAtSize(list: Buffer, fromBytes: number, toBytes: number, zeros: ZeroHashes): Buffer {
  if (fromBytes === toBytes) return list
  const blockBytes = blockBytesOf(toBytes)
  const count = blockCountOf(toBytes)
  const seen = Buffer.alloc(count * HASH_BYTES)
  const { whole, last } = zeros.of(toBytes)
  for (let block = 0; block < count; block++) {
    const there = Math.min(Math.max(fromBytes - block * blockBytes, 0), blockBytes)
    const wanted = Math.min(toBytes - block * blockBytes, blockBytes)
    const at = block * HASH_BYTES
    if (there === 0) (block === count - 1 ? last : whole).copy(seen, at)
    else if (there === wanted) list.copy(seen, at, at, at + HASH_BYTES)
  }
  return seen
}

/** Whether a block of this host's file takes no disk space, by its list: zeros count as a hole. */
export function isEmptyBlock(
  own: Buffer,
  block: number,
  count: number,
  zeros: { whole: Buffer; last: Buffer },
): boolean {
  return isHash(own, block, block === count - 1 ? zeros.last : zeros.whole)
}
