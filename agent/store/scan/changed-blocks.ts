import { randomInt } from 'node:crypto'
import type { Semaphore } from '../../runtime/semaphore.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, pickRows, sameHash } from '../blocks/block-size.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange } from '../tracker/contract.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { BlockPool, TaggedBlocks } from '../workers/contract.ts'
import type { BlockSink } from './content-sink.ts'
import { readAhead } from './read-ahead.ts'

/** Bytes that one task hashes: about 15 ms of a thread at most. */
const CALL_BYTES = 4 * 1024 * 1024

/**
 * The former blocks of a large file, and which of them may have changed: written to, or affected by its new size.
 * Reading just these makes the hashes and tags those of the file again.
 */
export class ChangedBlocks implements TaggedBlocks {
  readonly hashes: Buffer
  readonly tags: Buffer
  readonly blocks: readonly number[]
  readonly #sizeBytes: number

  /**
   * Returns null when what is known of the file does not help.
   * `index` is the file's in the tree that knew it; it has `sizeBytes` now.
   */
  static async of(
    tree: SavedTree,
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

  /** Bytes that have to be read. */
  get bytes(): number {
    return Math.min(this.blocks.length * blockBytesOf(this.#sizeBytes), this.#sizeBytes)
  }

  /**
   * Reads the changed blocks, some at a time, as far as `slots` are free.
   * `sink` copies them as they are read.
   * `cold`: they may have to come from the disk, which gets many requests at once then.
   */
  async rehash(fd: number, sink: BlockSink | null, pool: BlockPool, slots: Semaphore, cold: boolean): Promise<void> {
    const perCall = Math.max(1, CALL_BYTES / blockBytesOf(this.#sizeBytes))
    const calls: Promise<void>[] = []
    for (let at = 0; at < this.blocks.length; at += perCall) {
      const blocks = this.blocks.slice(at, at + perCall)
      if (cold) await this.#announce(fd, blocks)
      await slots.take()
      const read = sink === null ? this.#rehashSome(fd, pool, blocks) : this.#keepSome(fd, sink, blocks)
      const call = read.finally(() => slots.give())
      // It may fail while this waits for a free slot; the error is thrown at the end.
      call.catch(() => {})
      calls.push(call)
    }
    await Promise.allSettled(calls)
    await Promise.all(calls)
  }

  /**
   * Reads at most `most` of the other blocks, chosen at random.
   * Returns those that differ without a known write.
   */
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
    return { hashes: pickRows(this.hashes, blocks, HASH_BYTES), tags: pickRows(this.tags, blocks, TAG_BYTES) }
  }

  async #rehashSome(fd: number, pool: BlockPool, blocks: readonly number[]): Promise<void> {
    this.#put(blocks, await pool.rehashSome(fd, this.#sizeBytes, blocks, this.#known(blocks)))
  }

  /**
   * Blocks that were written to are likely to be written again.
   * A tag only saves hashing, and would not pay here.
   */
  async #keepSome(fd: number, sink: BlockSink, blocks: readonly number[]): Promise<void> {
    const hashes = await sink.hashBlocks(fd, this.#sizeBytes, blocks)
    this.#put(blocks, { hashes, tags: Buffer.alloc(blocks.length * TAG_BYTES) })
  }

  #put(blocks: readonly number[], { hashes, tags }: TaggedBlocks): void {
    for (const [nth, block] of blocks.entries()) {
      hashes.copy(this.hashes, block * HASH_BYTES, nth * HASH_BYTES, (nth + 1) * HASH_BYTES)
      tags.copy(this.tags, block * TAG_BYTES, nth * TAG_BYTES, (nth + 1) * TAG_BYTES)
    }
  }
}

/**
 * Returns ascending blocks.
 * Beyond the smaller of both sizes, and in the block where it ends, all may differ.
 */
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
