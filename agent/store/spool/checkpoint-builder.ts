import { closeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import type { TreeChanges } from '../changes/tree-changes.ts'
import { orDiskFull, requireSpace } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import { Mirror } from '../inode/mirror.ts'
import type { AuditLimits } from '../scan/audit-blocks.ts'
import type { ContentSink } from '../scan/content-sink.ts'
import { changed } from '../scan/errors.ts'
import { judge } from '../scan/judge-audit.ts'
import { lookAround, type OpenScan, type Scan } from '../scan/scan.ts'
import type { WalkOptions } from '../scan/walk-options.ts'
import { type KeptTree, loadCheckpoint, loadLast } from '../snapshot/saved-snapshot.ts'
import type { Cursor } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { Corrections } from './corrections.ts'
import { notFrozen } from './errors.ts'
import { type Captured, Frozen } from './frozen-scan.ts'
import { FrozenSink } from './frozen-sink.ts'
import { LiveSink } from './live-sink.ts'
import { MissingContentFinder } from './missing-content.ts'
import { Reflinks } from './reflinks.ts'
import { affordable } from './space-limit.ts'
import { SpoolWriter } from './spool-writer.ts'

/** Each time only what is still missed is copied once more: it is next to nothing the second time. */
const CORRECTIONS_MAX = 4
/** Of what is said not to have changed, so much is read in each round: a few milliseconds of work. */
const AUDIT: AuditLimits = { blocks: 64, files: 8 }

export interface SpoolParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  readonly faultPoint: FaultPoint
  readonly changes: TreeChanges
  /** So much of large files is read while everybody waits, rather than cloned: a file that is overwritten while it has a clone falls into pieces. */
  readonly atOnceBytes: number
}

/** How a look is done, see WalkOptions and ScanOptions; `audited`: some of what did not change is read, and has to be judged. */
interface Look {
  readonly quiet: boolean
  readonly audited: boolean
  readonly lists: string
  readonly keeping: ContentSink | null
  readonly keepingBlocks: LiveSink
}

/** What a round found while the tree is in use. */
export interface LiveRound {
  readonly scan: Scan
  readonly bytesSpooled: number
  /** Null: what changed was known by the tracker; else why changed files had to be read whole. */
  readonly scanned: string | null
}

/** A checkpoint in the making: the rounds after each other, each knowing what those before it have seen and copied. */
export class CheckpointBuilder implements AsyncDisposable {
  /** Hash of the checkpoint before; null: there is none. */
  readonly from: string | null
  /** The tree of that checkpoint; null: it is not known, and whatever the tree has is new. */
  readonly base: KeptTree | null
  readonly making: SpoolWriter
  captured: Captured | null = null
  /** The spool has left the directory where it is made. */
  placed = false
  readonly #parts: SpoolParts
  readonly #directory: string
  readonly #needs: MissingContentFinder
  /** The tree as it was last looked at before the rounds: `base`, unless a release was cut off after its look. */
  readonly #before: KeptTree | null
  /** The tree as the newest round saw it. */
  #tree: KeptTree | null = null
  #tickNs: bigint | null = null
  #frozen: Frozen | null = null
  /** As of which the newest look is exact. */
  #mark: Cursor = 0
  /** Why the newest look had to read what changed whole; null: it had not. */
  #scanned: string | null = null
  #scans = 0

  /**
   * `directory` is where the spool is made; it must not be there. `from`: hash of the checkpoint in the copy's record;
   * null: it has none.
   */
  static async begin(parts: SpoolParts, directory: string, from: string | null): Promise<CheckpointBuilder> {
    // Later captures replace what is kept as `live`, and rounds would go on from other lists than they believe.
    const last = await loadLast(parts.layout.directory)
    // What is in neither the spool nor the tree of the checkpoint before, no copy at that checkpoint can get.
    const base = last?.manifest.hash === from ? last : await loadCheckpoint(parts.layout.directory, from)
    const making = await SpoolWriter.open(directory, { tree: new Mirror(parts.layout.data), pool: parts.pool })
    return new CheckpointBuilder(parts, directory, { from, base, last }, making)
  }

  private constructor(
    parts: SpoolParts,
    directory: string,
    { from, base, last }: { from: string | null; base: KeptTree | null; last: KeptTree | null },
    making: SpoolWriter,
  ) {
    this.#parts = parts
    this.#directory = directory
    this.from = from
    this.base = base
    this.#before = last
    this.making = making
    this.#needs = new MissingContentFinder(base)
  }

  /** A round while the tree is in use. `sync` answers T, see capture/tick.ts. */
  async live(sync: () => Promise<bigint>, signal: AbortSignal): Promise<LiveRound> {
    const { changes } = this.#parts
    this.captured = null
    await this.thaw()
    const keepingBlocks = this.#keptBlocks()
    const scan = await this.#liveLook(keepingBlocks, sync, signal)
    const bytesSpooled = keepingBlocks.bytes + (await this.#spool(scan, null, signal)).bytesSpooled
    if (scan.manifest.hash === this.base?.manifest.hash) changes.knowLast(scan, this.#mark)
    changes.watch(scan)
    // What is written out now need not be when everybody waits.
    this.#tickNs = await sync()
    await judge(scan, changes, this.#parts.volume)
    return { scan, bytesSpooled, scanned: this.#scanned }
  }

  /**
   * The last look at the tree. `quiet`: TREE_CHANGED when it is not. After it the tree may change: what may have changed was cloned, to be read by `last`, or
   * copied already.
   */
  async freeze(kind: 'quiet' | 'live', sync: () => Promise<bigint>, signal: AbortSignal): Promise<void> {
    this.captured = null
    await this.thaw()
    const quiet = kind === 'quiet'
    const frozen = new Frozen(this.#listsPath(), quiet ? await Reflinks.open(this.#directory) : null)
    this.#frozen = frozen
    try {
      frozen.look = await this.#lastLook(quiet, frozen, sync, signal)
      // All that this look has read is kept, and what it has not read was copied before.
      if (quiet) return
      const scan = await this.#finish(frozen, signal)
      frozen.captured = await this.#capture(scan, false, null, signal)
    } catch (error) {
      this.#frozen = null
      await frozen[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Captures what was frozen. Whatever comes of it, it is not frozen any more. */
  async last(signal: AbortSignal): Promise<Captured> {
    const frozen = this.#frozen
    if (frozen === null) throw notFrozen(this.#parts.volume)
    try {
      signal.throwIfAborted()
      const capture = async () => await this.#capture(await this.#finish(frozen, signal), true, frozen.clones, signal)
      this.captured = frozen.captured ?? (await capture())
      return this.captured
    } finally {
      await this.thaw()
    }
  }

  /** Gives up what was frozen. Safe to repeat. */
  async thaw(): Promise<void> {
    const frozen = this.#frozen
    this.#frozen = null
    await frozen?.[Symbol.asyncDispose]()
  }

  /** Copies what the spool lacks of the last look. */
  async #capture(scan: Scan, quiet: boolean, clones: Reflinks | null, signal: AbortSignal): Promise<Captured> {
    const { mismatches } = await this.#spool(scan, clones, signal)
    if (quiet && mismatches.first >= 0) throw changed(this.#parts.volume, scan.manifest.path(mismatches.first))
    const tree = await this.#agreed(scan, mismatches, signal)
    const { hash, bytes, files } = tree.manifest
    const capture = { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
    return { tree, capture, mark: this.#mark }
  }

  async #lastLook(
    quiet: boolean,
    { clones, lists }: Frozen,
    sync: () => Promise<bigint>,
    signal: AbortSignal,
  ): Promise<OpenScan> {
    const { atOnceBytes } = this.#parts
    const fits = (bytes: number) => this.#requireSpace(bytes)
    const keeping = quiet ? new FrozenSink(this.making, clones, atOnceBytes, fits, signal) : null
    const how = { quiet, audited: false, lists, keeping, keepingBlocks: this.#keptBlocks() }
    if (!quiet || this.#tickNs === null) return await this.#lookMarked(how, sync, signal)
    // The T that the round before ended with will do: what is younger is read, and counts as not final. The disk is waited for only to write out what is cloned then,
    // and the tree stays exact as of the mark of that round.
    this.#parts.changes.gather()
    const still = this.#tree === null ? null : this.#parts.changes.still(this.#tree)
    return await this.#look(how, { marked: false, still }, this.#tickNs, signal)
  }

  /** A look that makes the tree exact as of a new mark. */
  async #lookMarked(how: Look, sync: () => Promise<bigint>, signal: AbortSignal): Promise<OpenScan> {
    const mark = await this.#parts.changes.mark(true)
    const tickNs = await sync()
    this.#mark = mark
    // A ctime below T says that nothing is to come, so all that had such a ctime must be known of by now.
    this.#parts.changes.gather()
    this.#scanned = this.#parts.changes.reasonAgainst(this.#tree ?? this.#before)
    return await this.#look(how, { marked: mark > 0, still: null }, tickNs, signal)
  }

  /** The tree as it was copied. What one of several files with the same content was to be copied for may have been missed in that one alone. */
  async #agreed(scan: KeptTree, missed: Corrections, signal: AbortSignal): Promise<KeptTree> {
    let [tree, mismatches] = [scan, missed]
    for (let tries = 0; mismatches.first >= 0; tries++) {
      tree = await mismatches.resolve(this.#listsPath())
      await this.#follow(tree)
      if (tries === CORRECTIONS_MAX) break
      mismatches = (await this.#spool(tree, null, signal)).mismatches
    }
    return tree
  }

  async #look(
    { quiet, audited, lists, keeping, keepingBlocks }: Look,
    { marked, still }: Pick<WalkOptions, 'marked' | 'still'>,
    tickNs: bigint,
    signal: AbortSignal,
  ): Promise<OpenScan> {
    const { layout, volume, pool, changes } = this.#parts
    const before = this.#before === this.base ? null : this.#before
    const known = { live: this.#tree ?? before, last: this.base }
    const how = { volume, quiet, tickNs, known, pool, signal, lists, keeping, keepingBlocks, marked, still }
    const tracked = {
      changes: (tree: KeptTree, ino: bigint) => changes.of(tree, ino),
      touched: (tree: KeptTree) => changes.touched(tree),
      ...(audited && marked ? { audit: AUDIT } : {}),
    }
    const root = openRoot(layout.data)
    try {
      const look = () => lookAround(root, { ...how, ...tracked })
      return await orDiskFull(layout.directory, volume, look)
    } finally {
      closeSync(root)
    }
  }

  /** Reads what a look left to be read, and goes on from there. */
  async #finish(frozen: Frozen, signal: AbortSignal): Promise<Scan> {
    const { layout, volume, faultPoint, changes } = this.#parts
    const scan = await orDiskFull(layout.directory, volume, () => frozen.finish(signal))
    await this.#follow(scan)
    faultPoint('spool-scanned')
    if (!scan.complete) throw signal.reason
    changes.know(scan, this.#mark)
    return scan
  }

  async #liveLook(keepingBlocks: LiveSink, sync: () => Promise<bigint>, signal: AbortSignal): Promise<Scan> {
    const lists = this.#listsPath()
    await using frozen = new Frozen(lists, null)
    const how = { quiet: false, audited: true, lists, keeping: null, keepingBlocks }
    frozen.look = await this.#lookMarked(how, sync, signal)
    return await this.#finish(frozen, signal)
  }

  /** Copies what the spool lacks of a tree, of the files that were cloned from their clones. */
  async #spool(
    tree: KeptTree,
    clones: Reflinks | null,
    signal: AbortSignal,
  ): Promise<{ mismatches: Corrections; bytesSpooled: number }> {
    const { layout, volume } = this.#parts
    const lacking = this.making.lacking(tree, await this.#needs.find(tree))
    const chosen = await affordable(layout.directory, volume, tree, lacking)
    const copy = () => this.making.copy(tree, chosen, clones, signal)
    return { mismatches: await orDiskFull(layout.directory, volume, copy), bytesSpooled: chosen.bytes }
  }

  /** Goes on from a newer look at the tree. */
  async #follow(tree: KeptTree): Promise<void> {
    const before = this.#tree?.lists.path
    this.#tree = tree
    // A scan that found nothing new is the tree before.
    const kept = [tree, this.base, this.#before].some((other) => other?.lists.path === before)
    if (before !== undefined && !kept) await rm(before, { force: true })
  }

  #keptBlocks(): LiveSink {
    return new LiveSink(this.making, (bytes) => this.#requireSpace(bytes))
  }

  #requireSpace(bytes: number): Promise<void> {
    const { layout, volume } = this.#parts
    return requireSpace(layout.directory, volume, bytes)
  }

  /** Each scan writes lists of its own: it reads those of the one before. */
  #listsPath(): string {
    this.#scans++
    return join(this.#directory, `lists.${this.#scans}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thaw()
    await this.making[Symbol.asyncDispose]()
  }
}
