import type { StatBuffer } from '../../sys/stat.ts'
import { blockCountOf, HASH_BYTES, isSmall } from '../blocks/block-size.ts'
import { type InodeBody, NO_HASH } from '../inode/inode.ts'
import { ManifestBuilder } from '../manifest/builder.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { TREE_LIMITS } from '../manifest/format.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { TaggedBlocks } from '../workers/contract.ts'
import { BlockListWriter } from './block-list-writer.ts'
import type { BlockListFile } from './block-lists.ts'
import { InodeStatesBuilder } from './inode-states.ts'
import { type SavedTree, takeName } from './saved-snapshot.ts'

type FileBody = InodeBody & { kind: 'file' }

/** Hashes (32 bytes each) and tags (16 each) of a file's blocks, as far as they are known. */
export interface KnownList {
  readonly list?: Buffer
  readonly tags?: Buffer
}

/**
 * Content that the caller knows for sure, because it has just written the file.
 * A large file may have no list.
 */
export interface KnownContent extends KnownList {
  /** As in the manifest. */
  readonly hash: Buffer
}

/** Actual content of a file; `list` is that of a large file. */
export interface NewContent {
  readonly hash: Buffer
  readonly list: Buffer | null
}

/**
 * Builds a snapshot entry by entry, in tree order.
 * While every entry equals that of a saved tree, nothing is built. An unchanged tree costs no memory and no
 * writing, and the result is the saved tree itself.
 */
export class SnapshotBuilder implements Disposable {
  readonly #base: SavedTree | null
  readonly #listsPath: string
  readonly #manifest: ManifestBuilder
  readonly #seen = new InodeStatesBuilder()
  readonly #lists: BlockListWriter
  readonly #grown: BlockListFile | null
  /** How many entries equal the first ones of the base, with nothing else added; -1: it differs from the base. */
  #same: number

  /** Lists are written to `listsPath`; unchanged lists in `grown` are not written again. */
  constructor(base: SavedTree | null, listsPath: string, grown = base?.lists ?? null, limits = TREE_LIMITS) {
    this.#manifest = new ManifestBuilder(limits)
    this.#base = base
    this.#listsPath = listsPath
    this.#lists = new BlockListWriter(listsPath)
    this.#grown = grown
    this.#same = base === null ? -1 : 0
    if (base === null && grown !== null) this.#lists.grow(grown)
  }

  get count(): number {
    return this.#same < 0 ? this.#manifest.count : this.#same
  }

  /** Takes over an unchanged entry, with its list if it is a large file. Not for links. */
  keep(tree: SavedTree, index: number): void {
    if (tree === this.#base && this.#same === index) {
      this.#same++
      return
    }
    this.#part()
    const kept = this.#manifest.copy(tree.manifest, index)
    this.#seen.copy(tree.seen, index)
    const listBytes = tree.manifest.listBytes(index)
    if (listBytes > 0) this.#lists.keep(kept, tree.lists, index, listBytes)
  }

  /** Takes over unchanged entries, from `from` up to `to`: whole directories without links. */
  keepRange(tree: SavedTree, from: number, to: number): void {
    if (tree === this.#base && this.#same === from) this.#same = to
    else for (let index = from; index < to; index++) this.keep(tree, index)
  }

  /** Takes over a file with other content, not clean; `list` is that of a large one. Only without a base. */
  keepAs(tree: SavedTree, index: number, { hash, list }: NewContent): void {
    const kept = this.#manifest.copyUnread(tree.manifest, index)
    this.#manifest.setHash(kept, hash)
    this.#seen.copy(tree.seen, index)
    this.#seen.setClean(kept, false)
    if (list !== null) this.#lists.add(kept, list, null)
  }

  /**
   * Adds a further name of entry `to`.
   * `known`: the base's entry at this place if it is a link to that entry, else -1.
   */
  link(depth: number, name: BytePath, to: number, known: number): void {
    if (known >= 0 && this.#same === known) {
      this.#same++
      return
    }
    this.#part()
    this.#manifest.add(depth, name, { kind: 'link', to })
    this.#seen.addNothing()
  }

  /** Adds a newly described entry that is no file. */
  add(depth: number, name: BytePath, body: InodeBody, stat: StatBuffer, clean: boolean): void {
    this.#part()
    this.#seen.add(stat, clean)
    this.#manifest.add(depth, name, body)
  }

  /** Adds a file whose content is known; a large one may lack a list. */
  addFile(depth: number, name: BytePath, body: FileBody, stat: StatBuffer, clean: boolean, known: KnownList): void {
    this.#part()
    if (known.list !== undefined && !isSmall(body.sizeBytes)) {
      this.#lists.add(this.count, known.list, known.tags ?? null)
    } else this.#reserve(body)
    this.add(depth, name, body, stat, clean)
  }

  /**
   * Adds a file whose content is still to be read, not clean; returns the offset of its list.
   * A small file has none.
   */
  addUnread(depth: number, name: BytePath, body: FileBody, stat: StatBuffer): number {
    this.#part()
    const listOffset = this.#reserve(body)
    this.#seen.add(stat, false)
    this.#manifest.addUnread(depth, name, body)
    return listOffset
  }

  /** Sets the content of a file that was added unread. */
  setRead(index: number, hash: Buffer, clean: boolean): void {
    this.#manifest.setHash(index, hash)
    this.#seen.setClean(index, clean)
  }

  /** Writes all blocks of file `index`, which was added unread; as `writeBlocks`. */
  writeList(index: number, listOffset: number, sizeBytes: number, blocks: TaggedBlocks): void {
    this.writeBlocks(listOffset, sizeBytes, 0, blocks)
    this.#lists.note(index, blocks.hashes)
  }

  /** Writes some blocks of a file that was added unread; `listOffset` is the offset of its list. */
  writeBlocks(listOffset: number, sizeBytes: number, first: number, blocks: TaggedBlocks): void {
    this.#lists.writeBlocks(listOffset, blockCountOf(sizeBytes) * HASH_BYTES, first, blocks)
  }

  setClean(index: number, clean: boolean): void {
    this.#part()
    this.#seen.setClean(index, clean)
  }

  /** Returns the snapshot without the entries `missing` (files that could not be read) and their further names. */
  async finish(missing: ReadonlySet<number>): Promise<SavedTree> {
    if (this.#base !== null && this.#same === this.#base.manifest.count) return this.#base
    this.#part()
    for (const index of missing) this.#manifest.setHash(index, NO_HASH)
    const manifest = this.#manifest.finish()
    const tree = { manifest, seen: this.#seen.finish(), lists: this.#lists.finish(manifest) }
    return missing.size === 0 ? tree : await without(tree, missing, this.#listsPath)
  }

  [Symbol.dispose](): void {
    this.#lists[Symbol.dispose]()
  }

  #reserve({ sizeBytes }: FileBody): number {
    return isSmall(sizeBytes) ? 0 : this.#lists.reserve(this.count, blockCountOf(sizeBytes) * HASH_BYTES)
  }

  /** Differs from the base from here on. */
  #part(): void {
    if (this.#same < 0) return
    const count = this.#same
    this.#same = -1
    if (this.#grown !== null) this.#lists.grow(this.#grown)
    if (this.#base === null || count === 0) return
    this.#manifest.copyFirst(this.#base.manifest, count)
    this.#seen.copyFirst(this.#base.seen, count)
    const { manifest, lists } = this.#base
    for (const index of lists.places.before(count)) this.#lists.keep(index, lists, index, manifest.listBytes(index))
  }
}

/** Removes files that vanished during the scan. That is rare, so everything else is simply copied. */
async function without(tree: SavedTree, missing: ReadonlySet<number>, listsPath: string): Promise<SavedTree> {
  const restPath = `${listsPath}.rest`
  const left = await corrected(tree, { missing, contents: new Map() }, restPath)
  if (left.lists.places.bytes > 0) await takeName(restPath, listsPath)
  left.lists.moved(listsPath)
  return left
}

/**
 * Returns a snapshot without some entries and their further names, and with other contents of some files.
 * Its lists are written to `listsPath`.
 */
export async function corrected(
  tree: SavedTree,
  change: { readonly missing: ReadonlySet<number>; readonly contents: ReadonlyMap<number, NewContent> },
  listsPath: string,
): Promise<SavedTree> {
  using rest = new SnapshotBuilder(null, listsPath, tree.lists)
  const places = new Int32Array(tree.manifest.count).fill(-1)
  for (let index = 0; index < tree.manifest.count; index++) {
    if (change.missing.has(index)) continue
    const to = linkTarget(tree.manifest, index)
    if (to !== null && (places[to] ?? -1) < 0) continue
    places[index] = rest.count
    const content = change.contents.get(index)
    if (to !== null) rest.link(tree.manifest.depth(index), tree.manifest.name(index), places[to] ?? 0, -1)
    else if (content !== undefined) rest.keepAs(tree, index, content)
    else rest.keep(tree, index)
  }
  return await rest.finish(new Set())
}

function linkTarget(manifest: Manifest, index: number): number | null {
  if (manifest.kind(index) !== 'link') return null
  const body = manifest.body(index)
  return body.kind === 'link' ? body.to : null
}
