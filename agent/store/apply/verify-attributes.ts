import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { WherryError } from '../../model/errors.ts'
import { HASH_BYTES } from '../blocks/block-size.ts'
import { openRoot } from '../inode/directory.ts'
import { type BytePath, printable } from '../manifest/byte-path.ts'
import { firstDifference } from '../manifest/comparison.ts'
import type { Plan } from '../manifest/plan.ts'
import { scanTree } from '../scan/scan.ts'
import { hashOfList } from '../snapshot/block-lists.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { KnownContent } from '../snapshot/snapshot-builder.ts'
import type { Stage } from '../stage/stage.ts'
import type { BlockPool } from '../workers/contract.ts'

/** Two clock ticks of a kernel with HZ=100: earlier changes are then older than the next T. */
const CLOCK_TICKS_MS = 20
/** A hash that no content has: a file that cannot be the target's need not be read. */
const NO_CONTENT = Buffer.alloc(HASH_BYTES)

export interface VerifyParts {
  /** The volume's name, for messages. */
  readonly volume: string
  /** Path of the changed tree. */
  readonly data: string
  /** Path for the lists of the tree's large files. */
  readonly lists: string
  readonly plan: Plan
  /** The tree as it was before it was changed. */
  readonly before: SavedTree
  readonly stage: Stage
  readonly pool: BlockPool
}

/**
 * Syncs, walks the changed tree and compares every name and attribute with the target.
 * Returns the target with what this disk knows of its entries. COPY_DAMAGED: names the first difference.
 * No content is read again. New content was hashed when it was staged, old content when the tree was scanned, and
 * the inode proves that it is that very file.
 */
export async function verifyApplied(parts: VerifyParts): Promise<SavedTree> {
  const { volume, plan, pool, before } = parts
  await sleep(CLOCK_TICKS_MS)
  const tickNs = await parts.stage.sync()
  const contents = new Contents(parts)
  const root = openRoot(parts.data)
  try {
    const scan = await scanTree(root, {
      volume,
      quiet: true,
      tickNs,
      known: { live: null, last: before },
      pool,
      signal: new AbortController().signal,
      lists: parts.lists,
      content: (path, ino, sizeBytes) => contents.of(path, ino, sizeBytes),
    })
    const difference = firstDifference(plan.target, scan.manifest)
    if (difference !== null) throw differs(volume, difference)
    return { manifest: plan.target, seen: scan.seen, lists: scan.lists.as({ manifest: plan.target }) }
  } finally {
    closeSync(root)
  }
}

/** What is known of the files' contents. Query files in tree order. */
class Contents {
  readonly #plan: Plan
  readonly #before: SavedTree
  readonly #stage: Stage
  #next = 0
  #lost = false

  constructor({ plan, before, stage }: VerifyParts) {
    this.#plan = plan
    this.#before = before
    this.#stage = stage
  }

  of(path: BytePath, ino: bigint, sizeBytes: number): KnownContent {
    const index = this.#find(path)
    const file = index < 0 ? null : this.#plan.target.file(index)
    if (file === null || file.sizeBytes !== sizeBytes || !this.#isOurs(index, ino)) return { hash: NO_CONTENT }
    if (!this.#plan.target.isLarge(index)) return { hash: file.hash }
    const list = this.#stage.parts.lists.read(file.hash) ?? this.#own(index)
    if (list === null) return { hash: file.hash }
    // A tag belongs to a hash and its content. The tags of before prove what did not change; the rest has none.
    const partner = this.#plan.partner(index)
    const tags = partner < 0 ? null : this.#before.lists.tagsNow(partner)
    return tags === null ? { hash: file.hash, list } : { hash: file.hash, list, tags }
  }

  /** Whether the file was written whole, or has the inode that was there before. */
  #isOurs(index: number, ino: bigint): boolean {
    return this.#plan.step(index) === 'file' || this.#before.seen.ino(this.#plan.partner(index)) === ino
  }

  #own(index: number): Buffer | null {
    const partner = this.#plan.partner(index)
    const list = partner < 0 ? null : this.#before.lists.listNow(partner)
    return list !== null && hashOfList(list).equals(this.#plan.target.file(index).hash) ? list : null
  }

  /**
   * -1: the target has no such file, or its turn is over.
   * A missing one makes the trees differ: the search ends.
   */
  #find(path: BytePath): number {
    const { target } = this.#plan
    for (; !this.#lost && this.#next < target.count; this.#next++) {
      if (target.kind(this.#next) === 'file' && target.path(this.#next) === path) return this.#next++
    }
    this.#lost = true
    return -1
  }
}

function differs(volume: string, path: BytePath): WherryError {
  const what = `After the copy of volume ${volume} was applied ${printable(path)} is not as it should be.`
  return new WherryError('COPY_DAMAGED', what, {
    hint: "Check this host's disk and file system, then let the copy be filled again.",
  })
}
