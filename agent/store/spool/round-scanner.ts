import { closeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import type { TreeChanges } from '../changes/tree-changes.ts'
import { orDiskFull } from '../disk/free-space.ts'
import type { Layout } from '../disk/layout.ts'
import { openRoot } from '../inode/directory.ts'
import type { AuditLimits } from '../scan/audit-blocks.ts'
import type { ContentSink } from '../scan/content-sink.ts'
import { type OpenScan, openScan, type Scan, type ScanOptions } from '../scan/scan.ts'
import type { WalkOptions } from '../scan/walk-options.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Cursor } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import type { FrozenScan } from './frozen-scan.ts'
import type { LiveSink } from './live-sink.ts'

/** What each round reads of files and blocks that are reported as unchanged: a few milliseconds of work. */
const AUDIT: AuditLimits = { blocks: 64, files: 8 }

export interface RoundScannerParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  readonly faultPoint: FaultPoint
  readonly changes: TreeChanges
}

/** How one scan is done, see WalkOptions and ScanOptions. */
export interface RoundScanOptions {
  readonly quiet: boolean
  /** True: some of what did not change is read as well, and has to be judged. */
  readonly audited: boolean
  readonly lists: string
  readonly contentSink: ContentSink | null
  readonly blockSink: LiveSink
}

/**
 * Scans the tree of a held volume round after round.
 * Each scan starts from what the one before has found.
 */
export class RoundScanner {
  readonly #parts: RoundScannerParts
  /** Where the block lists of the scans are written. */
  readonly #directory: string
  /** The tree of the checkpoint before; null: not known. */
  readonly #base: SavedTree | null
  /** The tree at the newest scan before the rounds: `base`, unless a release was cut off after its scan. */
  readonly #before: SavedTree | null
  /** The tree at the newest scan of these rounds. */
  #tree: SavedTree | null = null
  #tickNs: bigint | null = null
  /** The newest scan is exact as of this mark. */
  #mark: Cursor = 0
  #scanned: string | null = null
  #scans = 0

  constructor(parts: RoundScannerParts, directory: string, base: SavedTree | null, before: SavedTree | null) {
    this.#parts = parts
    this.#directory = directory
    this.#base = base
    this.#before = before
  }

  get mark(): Cursor {
    return this.#mark
  }

  /** Why the newest scan had to read changed files whole; null: it had not. */
  get scanned(): string | null {
    return this.#scanned
  }

  /** True: the scan before has left a T for `scanSinceTick`. */
  get hasTick(): boolean {
    return this.#tickNs !== null
  }

  /**
   * Path for the block lists of the next scan.
   * Each scan writes its own: it reads those of the scan before.
   */
  nextListsPath(): string {
    this.#scans++
    return join(this.#directory, `lists.${this.#scans}`)
  }

  /** Scans the tree, exact as of a new mark. `sync` is as SpoolOptions.sync. */
  async scanMarked(how: RoundScanOptions, sync: () => Promise<bigint>, signal: AbortSignal): Promise<OpenScan> {
    const { changes } = this.#parts
    const mark = await changes.mark(true)
    const tickNs = await sync()
    this.#mark = mark
    // A ctime below T is final, so every write with such a ctime must be known by now.
    changes.gather()
    this.#scanned = changes.reasonAgainst(this.#tree ?? this.#before)
    return await this.#open(how, { marked: mark > 0, unchanged: null }, tickNs, signal)
  }

  /**
   * Scans the tree without a sync, with the T that the last round ended with.
   * What is younger than that T is read and counts as not final. The tree stays exact as of that round's mark.
   * The disk is waited for only to write out what is cloned then.
   */
  async scanSinceTick(how: RoundScanOptions, signal: AbortSignal): Promise<OpenScan> {
    if (this.#tickNs === null) throw new TypeError('no round has ended yet')
    const { changes } = this.#parts
    changes.gather()
    const unchanged = this.#tree === null ? null : changes.unchanged(this.#tree)
    return await this.#open(how, { marked: false, unchanged: unchanged }, this.#tickNs, signal)
  }

  /** Ends a round. What is written out now need not be written out during the pause. */
  async endRound(sync: () => Promise<bigint>): Promise<void> {
    this.#tickNs = await sync()
  }

  /** Reads what a scan has left to be read; the next scan starts from the result. */
  async finish(frozen: FrozenScan, signal: AbortSignal): Promise<Scan> {
    const { layout, volume, faultPoint, changes } = this.#parts
    const scan = await orDiskFull(layout.directory, volume, () => frozen.finish(signal))
    await this.follow(scan)
    faultPoint('spool-scanned')
    if (!scan.complete) throw signal.reason
    changes.know(scan, this.#mark)
    return scan
  }

  /** Lets the next scan start from this tree. Block lists that no tree has any more are removed. */
  async follow(tree: SavedTree): Promise<void> {
    const before = this.#tree?.lists.path
    this.#tree = tree
    // A scan that found nothing new is the tree before.
    const kept = [tree, this.#base, this.#before].some((other) => other?.lists.path === before)
    if (before !== undefined && !kept) await rm(before, { force: true })
  }

  async #open(
    { quiet, audited, lists, contentSink, blockSink }: RoundScanOptions,
    { marked, unchanged }: Pick<WalkOptions, 'marked' | 'unchanged'>,
    tickNs: bigint,
    signal: AbortSignal,
  ): Promise<OpenScan> {
    const { layout, volume, pool, changes } = this.#parts
    const before = this.#before === this.#base ? null : this.#before
    // Typed as a whole: a name that the scan does not know must not compile.
    const options: ScanOptions = {
      volume,
      quiet,
      tickNs,
      known: { live: this.#tree ?? before, last: this.#base },
      pool,
      signal,
      lists,
      contentSink,
      blockSink,
      marked,
      unchanged,
      changes: (tree, ino) => changes.of(tree, ino),
      touched: (tree) => changes.touched(tree),
      ...(audited && marked ? { audit: AUDIT } : {}),
    }
    const root = openRoot(layout.data)
    try {
      return await orDiskFull(layout.directory, volume, () => openScan(root, options))
    } finally {
      closeSync(root)
    }
  }
}
