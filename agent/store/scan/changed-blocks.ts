import { randomInt } from 'node:crypto'
import type { Semaphore } from '../../runtime/semaphore.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, rowsOf, sameHash } from '../blocks/block-size.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange } from '../tracker/contract.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { BlockPool, TaggedBlocks } from '../workers/contract.ts'
import type { BlockSink } from './content-sink.ts'
import { readAhead } from './read-ahead.ts'

/** Bytes that are hashed in one go: about 15 ms of a thread at most. */
const CALL_BYTES = 4 * 1024 * 1024

/**
 * The blocks of a large file as they were, and which of them may be others by now: those that were written to, and all that its size may have touched. Reading
 * just these makes the hashes and tags the file's again.
 */
export class ChangedBlocks implements TaggedBlocks {
  readonly hashes: Buffer
  readonly tags: Buffer
  readonly blocks: readonly number[]
  readonly #sizeBytes: number

  /** `index` is the file's in the tree that knew it; it has `sizeBytes` now. null: what is known of it does not help. */
  static async of(
    tree: KeptTree,
    index: number,
    ranges: readonly ByteRange[],
    sizeBytes: number,
  ): Promise<ChangedBlocks | null> {
    const formerBytes = tree.manifest.sizeBytes(index)
    if (!tree.manifest.isLarge(index) || blockBytesOf(formerBytes) !== blockBytesOf(sizeBytes)) return null
    const list = await tree.lists.list(index)
    if (list === null) return null
    return new ChangedBlocks(list, tree.lists.tagsNow(index), changedIn(ranges, formerBytes, sizeBytes), sizeBytes)
  }

  private constructor(list: Buffer, tags: Buffer | null, blocks: readonly number[], sizeBytes: number) {
    const count = blockCountOf(sizeBytes)
    this.hashes = Buffer.alloc(count * HASH_BYTES)
    list.copy(this.hashes)
    this.tags = Buffer.alloc(count * TAG_BYTES)
    tags?.copy(this.tags)
    this.blocks = blocks
    this.#sizeBytes = sizeBytes
  }

  /** What has to be read. */
  get bytes(): number {
    return Math.min(this.blocks.length * blockBytesOf(this.#sizeBytes), this.#sizeBytes)
  }

  /** Reads them, some at a time, as far as `slots` are free. `keeping` keeps them. `cold`: they may have to come from the disk, which is told of many at once. */
  async rehash(fd: number, keeping: BlockSink | null, pool: BlockPool, slots: Semaphore, cold: boolean): Promise<void> {
    const perCall = Math.max(1, CALL_BYTES / blockBytesOf(this.#sizeBytes))
    const calls: Promise<void>[] = []
    for (let at = 0; at < this.blocks.length; at += perCall) {
      const blocks = this.blocks.slice(at, at + perCall)
      if (cold) await this.#announce(fd, blocks)
      await slots.take()
      const read = keeping === null ? this.#rehashSome(fd, pool, blocks) : this.#keepSome(fd, keeping, blocks)
      const call = read.finally(() => slots.give())
      // It may fail while this waits for a free slot; what failed is thrown in the end.
      call.catch(() => {})
      calls.push(call)
    }
    await Promise.allSettled(calls)
    await Promise.all(calls)
  }

  /** Reads some of the other blocks, at most so many, chosen by chance; answers those that are not as they were although nobody knows of a write. */
  async audit(fd: number, pool: BlockPool, most: number): Promise<ByteRange[]> {
    const blocks = this.#sample(most)
    const known = this.#known(blocks)
    const { hashes } = await pool.rehashSome(fd, this.#sizeBytes, blocks, known)
    const length = blockBytesOf(this.#sizeBytes)
    const wrong = blocks.filter((_, nth) => !sameHash(hashes, known.hashes, nth))
    return wrong.map((block) => ({ offset: block * length, length }))
  }

  async #announce(fd: number, blocks: readonly number[]): Promise<void> {
    const length = blockBytesOf(this.#sizeBytes)
    const ranges = blocks.map((block) => ({ offset: block * length, length }))
    await readAhead(fd, this.#sizeBytes, ranges)
  }

  #sample(most: number): number[] {
    const count = blockCountOf(this.#sizeBytes)
    const changed = new Set(this.blocks)
    const chosen = new Set<number>()
    for (let tries = 0; tries < most; tries++) {
      const block = randomInt(count)
      if (!changed.has(block)) chosen.add(block)
    }
    return [...chosen].sort((a, b) => a - b)
  }

  #known(blocks: readonly number[]): TaggedBlocks {
    return { hashes: rowsOf(this.hashes, blocks, HASH_BYTES), tags: rowsOf(this.tags, blocks, TAG_BYTES) }
  }

  async #rehashSome(fd: number, pool: BlockPool, blocks: readonly number[]): Promise<void> {
    this.#put(blocks, await pool.rehashSome(fd, this.#sizeBytes, blocks, this.#known(blocks)))
  }

  /** Blocks that were written to will be so again: a tag, which only saves hashing what stays, is not worth its time. */
  async #keepSome(fd: number, keeping: BlockSink, blocks: readonly number[]): Promise<void> {
    const hashes = await keeping.hashBlocks(fd, this.#sizeBytes, blocks)
    this.#put(blocks, { hashes, tags: Buffer.alloc(blocks.length * TAG_BYTES) })
  }

  #put(blocks: readonly number[], { hashes, tags }: TaggedBlocks): void {
    for (const [nth, block] of blocks.entries()) {
      hashes.copy(this.hashes, block * HASH_BYTES, nth * HASH_BYTES, (nth + 1) * HASH_BYTES)
      tags.copy(this.tags, block * TAG_BYTES, nth * TAG_BYTES, (nth + 1) * TAG_BYTES)
    }
  }
}

/** Ascending. Beyond the smaller of both sizes nothing is as it was, nor in the block in which it ends. */
function changedIn(ranges: readonly ByteRange[], formerBytes: number, sizeBytes: number): number[] {
  const blockBytes = blockBytesOf(sizeBytes)
  const count = blockCountOf(sizeBytes)
  const moved = formerBytes === sizeBytes ? [] : [{ offset: Math.min(formerBytes, sizeBytes), length: sizeBytes }]
  const blocks: number[] = []
  let next = 0
  for (const { offset, length } of [...ranges, ...moved].sort((a, b) => a.offset - b.offset)) {
    const end = Math.min(Math.ceil((offset + length) / blockBytes), count)
    for (next = Math.max(next, Math.floor(offset / blockBytes)); next < end; next++) blocks.push(next)
  }
  return blocks
}
