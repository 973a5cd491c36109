import { closeSync } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoName, failureOf, isDiskFailure, SystemCallError } from '../../sys/failure.ts'
import { punchHole } from '../../sys/files.ts'
import { STAT_BLOCK_BYTES, StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, HASH_BYTES, pickRows } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { movedAway } from '../inode/inode.ts'
import type { Mirror } from '../inode/mirror.ts'
import { printable } from '../manifest/byte-path.ts'
import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { BlockPool, TaggedBlocks } from '../workers/contract.ts'
import { OTHER_CONTENT } from '../workers/outcome.ts'
import { Corrections } from './corrections.ts'
import { hashIn, type LargeNeed, type Needs } from './missing-content.ts'
import type { Reflinks } from './reflinks.ts'
import { SlotAllocator } from './slot-allocator.ts'
import { SpoolIndex } from './spool-index.ts'

/** Bytes for one task of the pool: long enough to outweigh its message, short enough to spread over the threads. */
const CALL_BYTES = 1024 * 1024
/** Large files open at once. */
const LARGE_FILES = 4
/** The spool may take this many times the disk space of the contents in it, and this much more. */
export const SPOOL_GROWTH = 2
export const SPOOL_SLACK_BYTES = 4 * 1024 * 1024

export interface SpoolWriterParts {
  /** The tree, at the paths of the manifests. */
  readonly tree: Mirror
  readonly pool: BlockPool
}

/** What has to be copied: of the needs, what is not in the spool yet. */
interface Lacking {
  readonly small: readonly number[]
  readonly large: readonly LargeNeed[]
}

/** Blocks of an open file, the hashes of all its blocks, and their tags as far as they are known. */
interface OpenBlocks {
  readonly fd: number
  readonly sizeBytes: number
  readonly list: Buffer
  readonly blocks: readonly number[]
  readonly tags: Buffer
}

/**
 * Writes a spool: one file of contents, and an index of where each lies.
 * Each content counts by its hash, whatever tree it came from.
 */
export class SpoolWriter implements AsyncDisposable {
  readonly index = new SpoolIndex()
  readonly #room = new SlotAllocator()
  readonly #parts: SpoolWriterParts
  readonly #data: FileHandle

  /** Makes `directory`, which must not exist. */
  static async open(directory: string, parts: SpoolWriterParts): Promise<SpoolWriter> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return new SpoolWriter(await open(dataPath(directory), 'wx+', 0o600), parts)
  }

  private constructor(data: FileHandle, parts: SpoolWriterParts) {
    this.#data = data
    this.#parts = parts
  }

  /** Returns which needs are not in the spool, and frees contents that are not needed any more. */
  lacking(tree: SavedTree, { small, large }: Needs): Lacking {
    const wanted = new Set<string>()
    const isNew = this.#newIn(wanted)
    const lacking = {
      small: small.filter((index) => isNew(tree.manifest.file(index).hash)),
      large: large.map(({ index, list, blocks }) => {
        return { index, list, blocks: blocks.filter((block) => isNew(hashIn(list, block))) }
      }),
    }
    for (const slot of this.index.retain(wanted)) this.#room.giveBack(slot)
    return { ...lacking, large: lacking.large.filter(({ blocks }) => blocks.length > 0) }
  }

  /** Returns those blocks of a file that are not in the spool, each content once. */
  lackingBlocks(list: Buffer, blocks: readonly number[]): number[] {
    const isNew = this.#newIn(new Set())
    return blocks.filter((block) => isNew(hashIn(list, block)))
  }

  /**
   * Copies what is lacking from the tree, or from the clones of its files.
   * Returns where the tree differed.
   * What was copied is indexed by its actual hash.
   */
  async copy(
    tree: SavedTree,
    { small, large }: Lacking,
    clones: Reflinks | null,
    signal: AbortSignal,
  ): Promise<Corrections> {
    const mismatches = new Corrections(tree)
    const { threads } = this.#parts.pool
    await forEachLimit(groupSmallFiles(tree.manifest, small), 2 * threads, async (group) => {
      signal.throwIfAborted()
      await this.#smallFiles(tree, group, mismatches)
    })
    await forEachLimit(large, LARGE_FILES, async (need) => {
      const clone = clones?.fd(need.index)
      if (clone !== undefined) await this.#largeFile(tree, need, clone, mismatches, signal)
      else await this.#fromTree(tree, need, mismatches, signal)
    })
    return mismatches
  }

  /** Copies small files as they are now; as BlockPool.spoolFiles. */
  async spoolFiles(directoryFd: number, names: readonly string[], sizes: readonly number[]) {
    let offset = this.#room.pack(sizes)
    const copied = await this.#parts.pool.spoolFiles(directoryFd, names, sizes, this.#data.fd, offset)
    for (const [nth, sizeBytes] of sizes.entries()) {
      if ((copied.outcomes[nth] ?? 0) <= OTHER_CONTENT)
        this.index.set(hashIn(copied.hashes, nth), { offset, sizeBytes })
      offset += sizeBytes
    }
    return copied
  }

  /** Copies blocks of an open file as they are now; calls `onMismatch` for each that differs from `list`. */
  async spoolBlocks(
    of: OpenBlocks,
    signal: AbortSignal,
    onMismatch: (block: number, hash: Buffer) => void,
  ): Promise<void> {
    const perCall = Math.max(CALL_BYTES / blockBytesOf(of.sizeBytes), 1)
    await forEachLimit(chunks(of.blocks, perCall), 2 * this.#parts.pool.threads, async (blocks) => {
      signal.throwIfAborted()
      await this.#blocks({ ...of, blocks }, onMismatch)
    })
  }

  /**
   * Copies blocks of an open file as they are now; returns the hashes of the copies, in their order.
   * `known` is as in BlockPool.spoolBlocks.
   */
  async copyBlocks(
    fd: number,
    sizeBytes: number,
    blocks: readonly number[],
    known: TaggedBlocks | null,
  ): Promise<Buffer> {
    const blockBytes = blockBytesOf(sizeBytes)
    const slots = blocks.map((block) => this.#room.block(Math.min(blockBytes, sizeBytes - block * blockBytes)))
    const copies = blocks.map((block, nth) => ({
      block,
      place: slots[nth]?.offset ?? 0,
      used: slots[nth]?.used ?? true,
    }))
    const hashes = await this.#parts.pool.spoolBlocks(fd, this.#data.fd, sizeBytes, copies, known)
    for (const [nth, { offset, sizeBytes: length }] of slots.entries()) {
      const hash = hashIn(hashes, nth)
      // Another file, or an earlier copy of this block, may have had the same content.
      if (this.index.find(hash) === undefined) this.index.set(hash, { offset, sizeBytes: length })
      else this.#room.giveBack({ offset, sizeBytes: length })
    }
    return hashes
  }

  /** Whether another spool should be built instead: it would be as large, and its file shorter. */
  get isWornOut(): boolean {
    return this.#room.isWornOut
  }

  /**
   * Gives space that no content uses back to the disk, once the file takes more than SPOOL_GROWTH times what its
   * contents need. Call it while nothing is copied.
   */
  async reclaim(): Promise<void> {
    const { blocks } = await this.#data.stat()
    if (blocks * STAT_BLOCK_BYTES <= SPOOL_GROWTH * this.#room.heldBytes + SPOOL_SLACK_BYTES) return
    const pace = new YieldLoop()
    for (const { offset, sizeBytes } of this.#room.unused()) {
      punchHole(this.#data.fd, offset, sizeBytes)
      if (pace.due()) await pace.rest()
    }
  }

  /** Writes the contents to the disk; durable on return. */
  async sync(): Promise<void> {
    await this.#data.datasync()
  }

  /** Returns a test for contents that are neither in the spool nor were tested before; `asked` grows. */
  #newIn(asked: Set<string>): (hash: Buffer) => boolean {
    return (hash) => {
      const key = hash.toString('latin1')
      const known = asked.has(key) || this.index.find(hash) !== undefined
      asked.add(key)
      return !known
    }
  }

  async #smallFiles(tree: SavedTree, group: readonly number[], mismatches: Corrections): Promise<void> {
    const { manifest } = tree
    const fd = this.#directoryOf(tree, group[0] ?? 0)
    if (fd === null) {
      for (const index of group) mismatches.gone(index)
      return
    }
    try {
      const sizes = group.map((index) => manifest.sizeBytes(index))
      const names = group.map((index) => manifest.name(index))
      const { hashes, outcomes } = await this.spoolFiles(fd, names, sizes)
      for (const [nth, index] of group.entries()) {
        const [outcome, hash] = [outcomes[nth] ?? 0, hashIn(hashes, nth)]
        if (outcome > OTHER_CONTENT) this.#unreadable(tree, index, errnoName(outcome), mismatches)
        else if (!hash.equals(manifest.file(index).hash)) mismatches.content(index, hash)
      }
    } finally {
      closeSync(fd)
    }
  }

  async #fromTree(tree: SavedTree, need: LargeNeed, mismatches: Corrections, signal: AbortSignal): Promise<void> {
    const fd = this.#open(tree, need.index)
    if (fd === null) {
      mismatches.gone(need.index)
      return
    }
    try {
      await this.#largeFile(tree, need, fd, mismatches, signal)
    } finally {
      closeSync(fd)
    }
  }

  async #largeFile(tree: SavedTree, need: LargeNeed, fd: number, mismatches: Corrections, signal: AbortSignal) {
    const { index, list, blocks } = need
    const { sizeBytes } = tree.manifest.file(index)
    try {
      // A tag proves a block's hash at a sixth of the cost of hashing it again.
      const tags = tree.lists.tagsNow(index) ?? Buffer.alloc(0)
      await this.spoolBlocks({ fd, sizeBytes, list, blocks, tags }, signal, (block, hash) => {
        mismatches.block(index, list, block, hash)
      })
    } catch (error) {
      throw failureOf(printable(tree.manifest.path(index)), error)
    }
  }

  async #blocks({ fd, sizeBytes, list, blocks, tags }: OpenBlocks, onMismatch: (block: number, hash: Buffer) => void) {
    const known = { hashes: pickRows(list, blocks, HASH_BYTES), tags: pickRows(tags, blocks, TAG_BYTES) }
    const hashes = await this.copyBlocks(fd, sizeBytes, blocks, known)
    for (const [nth, block] of blocks.entries()) {
      const hash = hashIn(hashes, nth)
      if (!hash.equals(hashIn(list, block))) onMismatch(block, hash)
    }
  }

  /** Opens a file of the tree; null when no file is there any more. */
  #open(tree: SavedTree, index: number): number | null {
    const directory = this.#directoryOf(tree, index)
    if (directory === null) return null
    let fd: number | undefined
    try {
      fd = openFile(directory, tree.manifest.name(index))
      const stat = new StatBuffer()
      statAt(fd, '', stat)
      if (stat.kind === 'file') return fd
      closeSync(fd)
      return null
    } catch (error) {
      if (fd !== undefined || !movedAway(error)) throw error
      return null
    } finally {
      closeSync(directory)
    }
  }

  #directoryOf({ manifest }: SavedTree, index: number): number | null {
    try {
      return this.#parts.tree.directory(manifest, manifest.parent(index))
    } catch (error) {
      if (movedAway(error)) return null
      throw error
    }
  }

  #unreadable(tree: SavedTree, index: number, errno: string, mismatches: Corrections): void {
    if (isDiskFailure(errno)) throw new SystemCallError('read', printable(tree.manifest.path(index)), errno)
    mismatches.gone(index)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#data.close()
  }
}

export function dataPath(directory: string): string {
  return join(directory, 'data')
}

/** Returns how many bytes of one file are lacking. */
export function neededBytes({ manifest }: SavedTree, { index, list, blocks }: LargeNeed): number {
  const sizeBytes = manifest.sizeBytes(index)
  const blockBytes = blockBytesOf(sizeBytes)
  const last = list.length / HASH_BYTES - 1
  const short = blocks.at(-1) === last ? blockBytes * (last + 1) - sizeBytes : 0
  return blocks.length * blockBytes - short
}

function* chunks(blocks: readonly number[], count: number): Generator<readonly number[]> {
  for (let at = 0; at < blocks.length; at += count) yield blocks.slice(at, at + count)
}
