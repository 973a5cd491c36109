import { closeSync } from 'node:fs'
import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { errnoName, failureOf, isDiskFailure, SystemCallError } from '../../sys/failure.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { blockBytesOf, HASH_BYTES, rowsOf } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { movedAway } from '../inode/inode.ts'
import type { Mirror } from '../inode/mirror.ts'
import { printable } from '../manifest/byte-path.ts'
import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import { TAG_BYTES } from '../workers/block-tag.ts'
import type { BlockPool, TaggedBlocks } from '../workers/contract.ts'
import { OTHER_CONTENT } from '../workers/outcome.ts'
import { Corrections } from './corrections.ts'
import { hashIn, type LargeNeed, type Needs } from './missing-content.ts'
import type { Reflinks } from './reflinks.ts'
import { SlotAllocator } from './slot-allocator.ts'
import { SpoolIndex } from './spool-index.ts'

/** One call of the pool: long enough that its message costs nothing, short enough to share out. */
const CALL_BYTES = 1024 * 1024
/** Large files open at once. */
const LARGE_FILES = 4

export interface SpoolWriterParts {
  /** The tree, at the paths of the manifests. */
  readonly tree: Mirror
  readonly pool: BlockPool
}

/** What has to be copied: of the needs, what is not there yet. */
interface Lacking {
  readonly small: readonly number[]
  readonly large: readonly LargeNeed[]
}

/** Blocks of an open file: the hashes of all its blocks, and what tags of them are known. */
interface OpenBlocks {
  readonly fd: number
  readonly sizeBytes: number
  readonly list: Buffer
  readonly blocks: readonly number[]
  readonly tags: Buffer
}

/** A spool in the making: one file of contents, and what lies where in it. What it has is good by its hash, whatever tree it came from. */
export class SpoolWriter implements AsyncDisposable {
  readonly index = new SpoolIndex()
  readonly #room = new SlotAllocator()
  readonly #parts: SpoolWriterParts
  readonly #data: FileHandle

  /** `directory` is made, and must not have been there. */
  static async open(directory: string, parts: SpoolWriterParts): Promise<SpoolWriter> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return new SpoolWriter(await open(dataPath(directory), 'wx+', 0o600), parts)
  }

  private constructor(data: FileHandle, parts: SpoolWriterParts) {
    this.#data = data
    this.#parts = parts
  }

  /** What is not there of the needs; what they do not name any more is given up. */
  lacking(tree: KeptTree, { small, large }: Needs): Lacking {
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

  /** Of some blocks of a file those that are not there, each content once. */
  lackingBlocks(list: Buffer, blocks: readonly number[]): number[] {
    const isNew = this.#newIn(new Set())
    return blocks.filter((block) => isNew(hashIn(list, block)))
  }

  /**
   * Copies what is lacking from the tree, or from the clones of its files; answers what was not there as the tree's manifest says. What was copied stands under
   * the hash it has.
   */
  async copy(
    tree: KeptTree,
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

  /** Copies small files whatever they are; as BlockPool.spoolFiles. */
  async spoolFiles(directoryFd: number, names: readonly string[], sizes: readonly number[]) {
    let offset = this.#room.pack(sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0))
    const copied = await this.#parts.pool.spoolFiles(directoryFd, names, sizes, this.#data.fd, offset)
    for (const [nth, sizeBytes] of sizes.entries()) {
      if ((copied.outcomes[nth] ?? 0) <= OTHER_CONTENT)
        this.index.set(hashIn(copied.hashes, nth), { offset, sizeBytes })
      offset += sizeBytes
    }
    return copied
  }

  /** Copies blocks of an open file whatever they are; tells of each that is not as `list` says. */
  async spoolBlocks(of: OpenBlocks, signal: AbortSignal, tell: (block: number, hash: Buffer) => void): Promise<void> {
    const perCall = Math.max(CALL_BYTES / blockBytesOf(of.sizeBytes), 1)
    await forEachLimit(pieces(of.blocks, perCall), 2 * this.#parts.pool.threads, async (blocks) => {
      signal.throwIfAborted()
      await this.#blocks({ ...of, blocks }, tell)
    })
  }

  /** Copies blocks of an open file whatever they are; answers the hashes of what was copied, in their order. `known` is as of BlockPool.spoolBlocks. */
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
      // The same content may have come from elsewhere, or of this block before.
      if (this.index.find(hash) === undefined) this.index.set(hash, { offset, sizeBytes: length })
      else this.#room.giveBack({ offset, sizeBytes: length })
    }
    return hashes
  }

  /** Writes the contents to the disk. */
  async sync(): Promise<void> {
    await this.#data.datasync()
  }

  /** Tells of a content whether it is neither there nor was asked about before; `asked` grows. */
  #newIn(asked: Set<string>): (hash: Buffer) => boolean {
    return (hash) => {
      const key = hash.toString('latin1')
      const known = asked.has(key) || this.index.find(hash) !== undefined
      asked.add(key)
      return !known
    }
  }

  async #smallFiles(tree: KeptTree, group: readonly number[], mismatches: Corrections): Promise<void> {
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

  async #fromTree(tree: KeptTree, need: LargeNeed, mismatches: Corrections, signal: AbortSignal): Promise<void> {
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

  async #largeFile(tree: KeptTree, need: LargeNeed, fd: number, mismatches: Corrections, signal: AbortSignal) {
    const { index, list, blocks } = need
    const { sizeBytes } = tree.manifest.file(index)
    try {
      // By its tag a block is known to be what was hashed, at a sixth of the cost of hashing it again.
      const tags = tree.lists.tagsNow(index) ?? Buffer.alloc(0)
      await this.spoolBlocks({ fd, sizeBytes, list, blocks, tags }, signal, (block, hash) => {
        mismatches.block(index, list, block, hash)
      })
    } catch (error) {
      throw failureOf(printable(tree.manifest.path(index)), error)
    }
  }

  async #blocks({ fd, sizeBytes, list, blocks, tags }: OpenBlocks, tell: (block: number, hash: Buffer) => void) {
    const known = { hashes: rowsOf(list, blocks, HASH_BYTES), tags: rowsOf(tags, blocks, TAG_BYTES) }
    const hashes = await this.copyBlocks(fd, sizeBytes, blocks, known)
    for (const [nth, block] of blocks.entries()) {
      const hash = hashIn(hashes, nth)
      if (!hash.equals(hashIn(list, block))) tell(block, hash)
    }
  }

  /** Opens a file of the tree; null when no file is there any more. */
  #open(tree: KeptTree, index: number): number | null {
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

  #directoryOf({ manifest }: KeptTree, index: number): number | null {
    try {
      return this.#parts.tree.directory(manifest, manifest.parent(index))
    } catch (error) {
      if (movedAway(error)) return null
      throw error
    }
  }

  #unreadable(tree: KeptTree, index: number, errno: string, mismatches: Corrections): void {
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

/** Bytes of what is lacking of one file. */
export function bytesOf({ manifest }: KeptTree, { index, list, blocks }: LargeNeed): number {
  const sizeBytes = manifest.sizeBytes(index)
  const blockBytes = blockBytesOf(sizeBytes)
  const last = list.length / HASH_BYTES - 1
  const short = blocks.at(-1) === last ? blockBytes * (last + 1) - sizeBytes : 0
  return blocks.length * blockBytes - short
}

function* pieces(blocks: readonly number[], count: number): Generator<readonly number[]> {
  for (let at = 0; at < blocks.length; at += count) yield blocks.slice(at, at + count)
}
