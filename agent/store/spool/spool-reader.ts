import type { FileHandle } from 'node:fs/promises'
import { WherryError } from '../../model/errors.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { blockBytesOf, blockCountOf, isHash } from '../blocks/block-size.ts'
import { pieces } from '../blocks/read-pieces.ts'
import { ZeroHashes } from '../blocks/zero-hashes.ts'
import { isFile, isLongRunOf, isRunOf } from '../snapshot/check-request.ts'
import { OpenReads } from '../snapshot/open-reads.ts'
import { DiskReader, openIfThere } from '../snapshot/reader.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import { type BlockRun, FILES_MAX, FILES_MAX_BYTES, type Piece, type TreeReader } from '../tree-contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { hashIn } from './missing-content.ts'
import { ReadWindows } from './read-windows.ts'
import type { Slot, SpoolIndex } from './spool-index.ts'

interface SpoolReaderOptions {
  /** The checkpoint's snapshot. */
  readonly tree: SavedTree
  /** Path of the live tree. */
  readonly data: string
  /** Path of the spool's contents; null: it has none. */
  readonly spool: string | null
  readonly index: SpoolIndex
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  readonly memory: BufferPool
}

/**
 * Opens the checkpoint of a held volume for reading, from the spool and the live tree.
 * What comes from the live tree may have changed by now.
 * The reader stays valid when later checkpoints replace this one.
 */
export async function openSpoolReader(options: SpoolReaderOptions): Promise<TreeReader> {
  const live = await DiskReader.open(options.tree, { ...options, inUse: true })
  try {
    return new SpoolReader(options, live, options.spool === null ? null : await openIfThere(options.spool))
  } catch (error) {
    await live[Symbol.asyncDispose]()
    throw error
  }
}

const NOTHING = { data: Buffer.alloc(0), changed: [] }

/** Where a block's content comes from. */
type Source = 'spool' | 'zeros' | 'live'

class SpoolReader implements TreeReader {
  readonly #options: SpoolReaderOptions
  readonly #live: DiskReader
  readonly #data: FileHandle | null
  readonly #windows: ReadWindows | null
  readonly #zeros = new ZeroHashes()
  /** The list used last: that of a terabyte has 64 MiB. */
  #list: { readonly index: number; readonly list: Promise<Buffer | null> } | null = null
  /** Reads of the spool. */
  readonly #reads = new OpenReads()

  constructor(options: SpoolReaderOptions, live: DiskReader, data: FileHandle | null) {
    this.#options = options
    this.#live = live
    this.#data = data
    this.#windows = data === null ? null : new ReadWindows(data.fd)
  }

  get hash(): string {
    return this.#live.hash
  }

  manifest(): AsyncIterable<Buffer> {
    return this.#live.manifest()
  }

  hashes(index: number): AsyncIterable<Buffer> {
    return this.#live.hashes(index)
  }

  async files(indexes: readonly number[]): Promise<{ data: Buffer; changed: number[] }> {
    const data = this.#data
    const slots = indexes.length > FILES_MAX ? [] : indexes.map((index) => this.#slotOf(index))
    const fromLive = indexes.filter((_, nth) => slots[nth] === undefined)
    const bytes = slots.reduce((sum, slot) => sum + (slot?.sizeBytes ?? 0), 0)
    // It also refuses invalid requests.
    if (data === null || fromLive.length === indexes.length || bytes > FILES_MAX_BYTES) {
      return await this.#live.files(indexes)
    }
    using _ = this.#reads.begin()
    const live = fromLive.length === 0 ? NOTHING : await this.#live.files(fromLive)
    return await this.#joined(indexes, slots, live, data)
  }

  async *blocks(run: BlockRun): AsyncGenerator<Piece> {
    const list = await this.#listOf(run.index)
    const sizeBytes = list === null ? 0 : this.#options.tree.manifest.sizeBytes(run.index)
    if (list === null || !(isRunOf(sizeBytes, run) || isLongRunOf(sizeBytes, run, list))) {
      yield* this.#live.blocks(run)
      return
    }
    using _ = this.#reads.begin()
    const blockBytes = blockBytesOf(sizeBytes)
    let missing: unknown
    for (const { source, first, count } of this.#sources(run, list, sizeBytes)) {
      if (source === 'spool') {
        for (let block = first; block < first + count; block++) yield* this.#spooled(list, block, blockBytes)
        continue
      }
      try {
        for await (const piece of this.#live.blocks({ index: run.index, first, count })) {
          if (source === 'zeros') piece.data.fill(0)
          yield piece
        }
      } catch (error) {
        // Blocks of zeros become a hole without the file. The rest of the run may still be there.
        if (!(error instanceof WherryError) || error.code !== 'TREE_CHANGED') throw error
        if (source === 'live') missing ??= error
      }
    }
    if (missing !== undefined) throw missing
  }

  /** Joins neighbouring blocks with the same source. */
  *#sources({ first, count }: BlockRun, list: Buffer, sizeBytes: number) {
    const blockCount = blockCountOf(sizeBytes)
    const { whole, last } = this.#zeros.of(sizeBytes)
    const sourceOf = (block: number): Source => {
      if (isHash(list, block, block === blockCount - 1 ? last : whole)) return 'zeros'
      return this.#data !== null && this.#options.index.find(hashIn(list, block)) !== undefined ? 'spool' : 'live'
    }
    for (let block = first; block < first + count; ) {
      const source = sourceOf(block)
      let end = block + 1
      while (end < first + count && sourceOf(end) === source) end++
      yield { source, first: block, count: end - block }
      block = end
    }
  }

  async *#spooled(list: Buffer, block: number, blockBytes: number): AsyncGenerator<Piece> {
    const slot = this.#options.index.find(hashIn(list, block))
    if (slot === undefined || this.#data === null || this.#windows === null) return
    if (ReadWindows.fits(slot)) {
      yield { offset: block * blockBytes, data: await this.#windows.read(slot) }
      return
    }
    const shift = block * blockBytes - slot.offset
    for await (const { offset, data } of pieces(
      this.#options.memory,
      this.#data.fd,
      slot.offset,
      slot.offset + slot.sizeBytes,
    )) {
      yield { offset: offset + shift, data }
    }
  }

  /** Joins contents of the spool and of the live tree in the order of the request. */
  async #joined(
    indexes: readonly number[],
    slots: readonly (Slot | undefined)[],
    live: { readonly data: Buffer; readonly changed: readonly number[] },
    spool: FileHandle,
  ): Promise<{ data: Buffer; changed: number[] }> {
    const { manifest } = this.#options.tree
    const sizes = indexes.map((index) => manifest.sizeBytes(index))
    const data = Buffer.from(new ArrayBuffer(sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0)))
    const notThere = new Set(live.changed)
    const changed: number[] = []
    const reads: { at: number; bytes: number; offset: number }[] = []
    let [at, liveAt, nthLive] = [0, 0, 0]
    for (const [nth, sizeBytes] of sizes.entries()) {
      const [slot, before] = [slots[nth], reads.at(-1)]
      if (slot === undefined) {
        liveAt += live.data.copy(data, at, liveAt, liveAt + sizeBytes)
        if (notThere.has(nthLive)) changed.push(nth)
        nthLive++
      } else if (
        before !== undefined &&
        before.at + before.bytes === at &&
        before.offset + before.bytes === slot.offset
      ) {
        // Files of one directory were spooled together: one read gets them all.
        before.bytes += sizeBytes
      } else reads.push({ at, bytes: sizeBytes, offset: slot.offset })
      at += sizeBytes
    }
    for (const { at, bytes, offset } of reads) await spool.read(data, at, bytes, offset)
    return { data, changed }
  }

  /** Returns the slot of a small file; undefined: the spool does not have it. */
  #slotOf(index: number): Slot | undefined {
    const { manifest } = this.#options.tree
    if (!isFile(manifest, index) || manifest.isLarge(index)) return undefined
    return this.#data === null ? undefined : this.#options.index.find(manifest.file(index).hash)
  }

  /** Returns the block hashes of a large file; null: it is no large file, or its list is damaged. */
  #listOf(index: number): Promise<Buffer | null> {
    const { manifest } = this.#options.tree
    if (!isFile(manifest, index) || !manifest.isLarge(index)) return Promise.resolve(null)
    if (this.#list?.index !== index) this.#list = { index, list: this.#live.list(index) }
    return this.#list.list
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reads.ended()
    await this.#data?.close()
    await this.#live[Symbol.asyncDispose]()
  }
}
