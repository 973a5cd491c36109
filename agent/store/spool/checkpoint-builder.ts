import type { CaptureMode } from '../contract.ts'
import { orDiskFull, requireSpareSpace } from '../disk/free-space.ts'
import { Mirror } from '../inode/mirror.ts'
import { changed } from '../scan/errors.ts'
import { judgeAudit } from '../scan/judge-audit.ts'
import type { OpenScan, Scan } from '../scan/scan.ts'
import { loadCheckpoint, loadLast, type SavedTree } from '../snapshot/saved-snapshot.ts'
import type { Corrections } from './corrections.ts'
import { notFrozen } from './errors.ts'
import { type CapturedTree, FrozenScan } from './frozen-scan.ts'
import { FrozenSink } from './frozen-sink.ts'
import { LiveSink } from './live-sink.ts'
import { MissingContentFinder } from './missing-content.ts'
import { Reflinks } from './reflinks.ts'
import { RoundScanner, type RoundScannerParts } from './round-scanner.ts'
import { affordable } from './space-limit.ts'
import { SpoolWriter } from './spool-writer.ts'

/** Each correction copies only what is still missed: next to nothing the second time. */
const CORRECTIONS_MAX = 4

export interface SpoolParts extends RoundScannerParts {
  /**
   * Bytes of large files that are read during the pause rather than cloned.
   * A file that is overwritten while it has a clone falls into pieces.
   */
  readonly atOnceBytes: number
}

/** Result of a pre-copy round. */
export interface LiveRound {
  readonly scan: Scan
  readonly bytesSpooled: number
  /** Null: the tracker knew what had changed. Else: why changed files had to be read whole. */
  readonly scanned: string | null
}

/**
 * Builds one checkpoint round after round.
 * Each round starts from what earlier ones have found and copied.
 */
export class CheckpointBuilder implements AsyncDisposable {
  /** Hash of the checkpoint before; null: there is none. */
  readonly from: string | null
  /** The tree of that checkpoint; null: not known, and everything in the tree is new. */
  readonly base: SavedTree | null
  readonly writer: SpoolWriter
  captured: CapturedTree | null = null
  /** The spool was moved from where it is built to its place. */
  placed = false
  readonly #parts: SpoolParts
  readonly #scanner: RoundScanner
  readonly #directory: string
  readonly #needs: MissingContentFinder
  #frozen: FrozenScan | null = null

  /**
   * Starts a checkpoint. `directory` is where the spool is built; it must not exist.
   * `from`: hash of the checkpoint in the copy's record; null: it has none.
   */
  static async begin(parts: SpoolParts, directory: string, from: string | null): Promise<CheckpointBuilder> {
    // Not `live`: later captures replace that saved tree, and its block lists with it.
    const last = await loadLast(parts.layout.directory)
    // Content that is neither in the spool nor in this tree cannot reach a copy at the checkpoint before.
    const base = last?.manifest.hash === from ? last : await loadCheckpoint(parts.layout.directory, from)
    const writer = await SpoolWriter.open(directory, { tree: new Mirror(parts.layout.data), pool: parts.pool })
    return new CheckpointBuilder(parts, directory, { from, base, last }, writer)
  }

  private constructor(
    parts: SpoolParts,
    directory: string,
    { from, base, last }: { from: string | null; base: SavedTree | null; last: SavedTree | null },
    writer: SpoolWriter,
  ) {
    this.#parts = parts
    this.#directory = directory
    this.from = from
    this.base = base
    this.#scanner = new RoundScanner(parts, directory, base, last)
    this.writer = writer
    this.#needs = new MissingContentFinder(base)
  }

  /** Runs a pre-copy round while the tree is in use. `sync` returns T, see scan/fs-clock.ts. */
  async live(sync: () => Promise<bigint>, signal: AbortSignal): Promise<LiveRound> {
    const { changes } = this.#parts
    this.captured = null
    await this.thaw()
    const blockSink = this.#newLiveSink()
    const scan = await this.#liveScan(blockSink, sync, signal)
    const bytesSpooled = blockSink.bytes + (await this.#spool(scan, null, signal)).bytesSpooled
    if (scan.manifest.hash === this.base?.manifest.hash) changes.knowLast(scan, this.#scanner.mark)
    changes.watch(scan)
    await this.#scanner.endRound(sync)
    await judgeAudit(scan, changes, this.#parts.volume)
    return { scan, bytesSpooled, scanned: this.#scanner.scanned }
  }

  /**
   * Scans the tree for the last time. Afterwards it may change.
   * What may have changed was cloned, to be read by `last`, or is copied already.
   * TREE_CHANGED with `quiet`: the tree was written to during the scan.
   */
  async freeze(mode: CaptureMode, sync: () => Promise<bigint>, signal: AbortSignal): Promise<void> {
    this.captured = null
    await this.thaw()
    const quiet = mode === 'quiet'
    const frozen = new FrozenScan(this.#scanner.nextListsPath(), quiet ? await Reflinks.open(this.#directory) : null)
    this.#frozen = frozen
    try {
      frozen.scan = await this.#lastScan(quiet, frozen, sync, signal)
      // All that a live scan has read is copied, and what it has not read was copied before.
      if (quiet) return
      const scan = await this.#scanner.finish(frozen, signal)
      frozen.captured = await this.#capture(scan, false, null, signal)
    } catch (error) {
      this.#frozen = null
      await frozen[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Captures what was frozen. Nothing is frozen afterwards, even on failure. */
  async last(signal: AbortSignal): Promise<CapturedTree> {
    const frozen = this.#frozen
    if (frozen === null) throw notFrozen(this.#parts.volume)
    try {
      signal.throwIfAborted()
      const capture = async () =>
        await this.#capture(await this.#scanner.finish(frozen, signal), true, frozen.clones, signal)
      this.captured = frozen.captured ?? (await capture())
      return this.captured
    } finally {
      await this.thaw()
    }
  }

  /** Drops what was frozen. May be repeated. */
  async thaw(): Promise<void> {
    const frozen = this.#frozen
    this.#frozen = null
    await frozen?.[Symbol.asyncDispose]()
  }

  /** Copies what the spool lacks of the last scan. */
  async #capture(scan: Scan, quiet: boolean, clones: Reflinks | null, signal: AbortSignal): Promise<CapturedTree> {
    const { mismatches } = await this.#spool(scan, clones, signal)
    if (quiet && mismatches.first >= 0) throw changed(this.#parts.volume, scan.manifest.path(mismatches.first))
    const tree = await this.#agreed(scan, mismatches, signal)
    const { hash, bytes, files } = tree.manifest
    const capture = { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
    return { tree, capture, mark: this.#scanner.mark }
  }

  async #lastScan(
    quiet: boolean,
    { clones, lists }: FrozenScan,
    sync: () => Promise<bigint>,
    signal: AbortSignal,
  ): Promise<OpenScan> {
    const { atOnceBytes } = this.#parts
    const fits = (bytes: number) => this.#requireSpace(bytes)
    const contentSink = quiet ? new FrozenSink(this.writer, clones, atOnceBytes, fits, signal) : null
    const how = { quiet, audited: false, lists, contentSink, blockSink: this.#newLiveSink() }
    if (!quiet || !this.#scanner.hasTick) return await this.#scanner.scanMarked(how, sync, signal)
    return await this.#scanner.scanSinceTick(how, signal)
  }

  /**
   * Returns the tree as it was copied.
   * Of several files with the same content one is copied, and that one alone may have changed.
   */
  async #agreed(scan: SavedTree, missed: Corrections, signal: AbortSignal): Promise<SavedTree> {
    let [tree, mismatches] = [scan, missed]
    for (let tries = 0; mismatches.first >= 0; tries++) {
      tree = await mismatches.resolve(this.#scanner.nextListsPath())
      await this.#scanner.follow(tree)
      if (tries === CORRECTIONS_MAX) break
      mismatches = (await this.#spool(tree, null, signal)).mismatches
    }
    return tree
  }

  async #liveScan(blockSink: LiveSink, sync: () => Promise<bigint>, signal: AbortSignal): Promise<Scan> {
    const lists = this.#scanner.nextListsPath()
    await using frozen = new FrozenScan(lists, null)
    const how = { quiet: false, audited: true, lists, contentSink: null, blockSink }
    frozen.scan = await this.#scanner.scanMarked(how, sync, signal)
    return await this.#scanner.finish(frozen, signal)
  }

  /** Copies what the spool lacks of a tree; cloned files are read from their clones. */
  async #spool(
    tree: SavedTree,
    clones: Reflinks | null,
    signal: AbortSignal,
  ): Promise<{ mismatches: Corrections; bytesSpooled: number }> {
    const { layout, volume } = this.#parts
    const lacking = this.writer.lacking(tree, await this.#needs.find(tree))
    await this.writer.reclaim()
    const chosen = await affordable(layout.directory, volume, tree, lacking)
    const copy = () => this.writer.copy(tree, chosen, clones, signal)
    return { mismatches: await orDiskFull(layout.directory, volume, copy), bytesSpooled: chosen.bytes }
  }

  #newLiveSink(): LiveSink {
    return new LiveSink(this.writer, (bytes) => this.#requireSpace(bytes))
  }

  #requireSpace(bytes: number): Promise<void> {
    const { layout, volume } = this.#parts
    return requireSpareSpace(layout.directory, volume, bytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thaw()
    await this.writer[Symbol.asyncDispose]()
  }
}
