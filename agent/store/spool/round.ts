import { closeSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultPoint } from '../../fault-point.ts'
import type { AuditLimits, Suspect } from '../capture/audit.ts'
import { changed, changesMissed } from '../capture/refusals.ts'
import { type Scan, scanTree } from '../capture/scan.ts'
import type { TreeChanges } from '../capture/tree-changes.ts'
import type { WalkOptions } from '../capture/walk-options.ts'
import type { Capture } from '../contract.ts'
import { orDiskFull } from '../copies/space.ts'
import { openRoot } from '../inode/directory.ts'
import { Mirror } from '../inode/mirror.ts'
import type { Layout } from '../layout.ts'
import type { BlockPool } from '../pool/contract.ts'
import { type KeptTree, loadLast } from '../snapshot/kept.ts'
import type { Cursor } from '../tracker/contract.ts'
import { affordable } from './budget.ts'
import { Making } from './making.ts'
import type { Mismatches } from './mismatches.ts'
import { NeedsFinder } from './needs.ts'

/** Each time only what is still missed is copied once more: it is next to nothing the second time. */
const CORRECTIONS_MAX = 4
/** Of what is said not to have changed, so much is read in each round: a few milliseconds of work. */
const AUDIT: AuditLimits = { blocks: 64, files: 8 }
/** Longer than a program that can go on waits for a processor. */
const LATE_EVENT_MS = 2_000

export interface SpoolParts {
  readonly layout: Layout
  /** The volume's name, for messages. */
  readonly volume: string
  readonly pool: BlockPool
  readonly faultPoint: FaultPoint
  readonly changes: TreeChanges
}

/** `quiet`: TREE_CHANGED when the tree is not; `marked`, `still`: see WalkOptions; `audited`: some of what did not change is read, and has to be judged. */
type Look = Pick<WalkOptions, 'quiet' | 'marked' | 'still'> & { readonly audited: boolean }

/** What a round found while the tree is in use. */
export interface LiveRound {
  readonly scan: Scan
  readonly bytesSpooled: number
  /** Null: what changed was known by the tracker; else why changed files had to be read whole. */
  readonly scanned: string | null
}

/** What the last round captured. */
export interface Captured {
  readonly tree: KeptTree
  readonly capture: Capture
  /** As of which it is exact, see TreeChanges. */
  readonly mark: Cursor
}

/** A checkpoint in the making: the rounds after each other, each knowing what those before it have seen and copied. */
export class Rounds implements AsyncDisposable {
  /** The tree of the checkpoint before; null: there is none. */
  readonly base: KeptTree | null
  readonly making: Making
  captured: Captured | null = null
  /** The spool has left the directory where it is made. */
  placed = false
  readonly #parts: SpoolParts
  readonly #directory: string
  readonly #needs: NeedsFinder
  /** The tree as the newest round saw it. */
  #tree: KeptTree | null = null
  #tickNs: bigint | null = null
  /** As of which the newest look is exact. */
  #mark: Cursor = 0
  /** Why the newest look had to read what changed whole; null: it had not. */
  #scanned: string | null = null
  #scans = 0

  /** `directory` is where the spool is made; it must not be there. */
  static async begin(parts: SpoolParts, directory: string): Promise<Rounds> {
    // Later captures replace what is kept as `live`, and rounds would go on from other lists than they believe.
    const last = await loadLast(parts.layout.directory)
    const making = await Making.open(directory, { tree: new Mirror(parts.layout.data), pool: parts.pool })
    return new Rounds(parts, directory, last, making)
  }

  private constructor(parts: SpoolParts, directory: string, base: KeptTree | null, making: Making) {
    this.#parts = parts
    this.#directory = directory
    this.base = base
    this.making = making
    this.#needs = new NeedsFinder(base)
  }

  /** A round while the tree is in use. `sync` answers T, see capture/tick.ts. */
  async live(sync: () => Promise<bigint>, signal: AbortSignal): Promise<LiveRound> {
    const { changes } = this.#parts
    this.captured = null
    const scan = await this.#lookMarked({ quiet: false, audited: true }, sync, signal)
    const { bytesSpooled } = await this.#spool(scan, signal)
    if (scan.manifest.hash === this.base?.manifest.hash) changes.knowLast(scan, this.#mark)
    changes.watch(scan)
    // What is written out now need not be when everybody waits.
    this.#tickNs = await sync()
    await this.#judge(scan)
    return { scan, bytesSpooled, scanned: this.#scanned }
  }

  /** The last round. `quiet`: TREE_CHANGED when the tree is not. */
  async last(kind: 'quiet' | 'live', sync: () => Promise<bigint>, signal: AbortSignal): Promise<Captured> {
    this.captured = null
    const quiet = kind === 'quiet'
    const scan = await this.#lastLook(quiet, sync, signal)
    const { mismatches } = await this.#spool(scan, signal)
    if (quiet && mismatches.first >= 0) throw changed(this.#parts.volume, scan.manifest.path(mismatches.first))
    const tree = await this.#agreed(scan, mismatches, signal)
    const { hash, bytes, files } = tree.manifest
    const capture = { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
    this.captured = { tree, capture, mark: this.#mark }
    return this.captured
  }

  async #lastLook(quiet: boolean, sync: () => Promise<bigint>, signal: AbortSignal): Promise<Scan> {
    if (!quiet || this.#tickNs === null) return await this.#lookMarked({ quiet, audited: false }, sync, signal)
    // The T that the round before ended with will do: what is younger is read, and counts as not final. Nobody waits for the disk then, and
    // the tree stays exact as of the mark of that round.
    this.#parts.changes.gather()
    const still = this.#tree === null ? null : this.#parts.changes.still(this.#tree)
    return await this.#look({ quiet, marked: false, still, audited: false }, this.#tickNs, signal)
  }

  /** A look that makes the tree exact as of a new mark. */
  async #lookMarked(how: Omit<Look, 'marked'>, sync: () => Promise<bigint>, signal: AbortSignal): Promise<Scan> {
    const mark = await this.#parts.changes.mark(true)
    const tickNs = await sync()
    this.#mark = mark
    // A ctime below T says that nothing is to come, so all that had such a ctime must be known of by now.
    this.#parts.changes.gather()
    this.#scanned = this.#parts.changes.reasonAgainst(this.#tree ?? this.base)
    return await this.#look({ ...how, marked: mark > 0 }, tickNs, signal)
  }

  /** The tree as it was copied. What one of several files with the same content was to be copied for may have been missed in that one alone. */
  async #agreed(scan: KeptTree, missed: Mismatches, signal: AbortSignal): Promise<KeptTree> {
    let [tree, mismatches] = [scan, missed]
    for (let tries = 0; mismatches.first >= 0; tries++) {
      tree = await mismatches.resolve(this.#listsPath())
      await this.#follow(tree)
      if (tries === CORRECTIONS_MAX) break
      mismatches = (await this.#spool(tree, signal)).mismatches
    }
    return tree
  }

  async #look(how: Look, tickNs: bigint, signal: AbortSignal): Promise<Scan> {
    const { layout, volume, faultPoint, changes } = this.#parts
    const scan = await orDiskFull(layout.directory, volume, () => this.#scan(how, tickNs, signal))
    await this.#follow(scan)
    faultPoint('spool-scanned')
    if (!scan.complete) throw signal.reason
    changes.know(scan, this.#mark)
    return scan
  }

  /** What is not as it was has been written to after its changes were asked for, or its change was missed. */
  async #judge(scan: Scan): Promise<void> {
    const { changes, volume } = this.#parts
    let suspect = this.#unexplained(scan)
    // A write(2) is seen before the kernel tells of it, and its program may not have been given the processor since. Of a file that nobody watches nothing will be told.
    if (suspect !== undefined && changes.isWritten(scan, suspect.ino, suspect) !== null) {
      await sleep(LATE_EVENT_MS)
      suspect = this.#unexplained(scan)
    }
    if (suspect !== undefined) throw changesMissed(volume, suspect)
  }

  #unexplained(scan: Scan): Suspect | undefined {
    const { changes } = this.#parts
    if (scan.suspects.length > 0) changes.gather()
    // Where nothing is known of a file its ctime has the word, and that of an untouched one says that there was no change.
    return scan.suspects.find((suspect) => !(changes.isWritten(scan, suspect.ino, suspect) ?? !suspect.untouched))
  }

  /** Copies what the spool lacks of a tree. */
  async #spool(tree: KeptTree, signal: AbortSignal): Promise<{ mismatches: Mismatches; bytesSpooled: number }> {
    const { layout, volume } = this.#parts
    const lacking = this.making.lacking(tree, await this.#needs.find(tree))
    const chosen = await affordable(layout.directory, volume, tree, lacking)
    const copy = () => this.making.copy(tree, chosen, signal)
    return { mismatches: await orDiskFull(layout.directory, volume, copy), bytesSpooled: chosen.bytes }
  }

  async #scan({ quiet, marked, still, audited }: Look, tickNs: bigint, signal: AbortSignal): Promise<Scan> {
    const { layout, volume, pool, changes } = this.#parts
    const lists = this.#listsPath()
    const root = openRoot(layout.data)
    try {
      const known = { live: this.#tree, last: this.base }
      const changed = (tree: KeptTree, ino: bigint) => changes.of(tree, ino)
      const touched = (tree: KeptTree) => changes.touched(tree)
      const tracked = { changes: changed, touched, marked, still, ...(audited && marked ? { audit: AUDIT } : {}) }
      return await scanTree(root, { volume, quiet, tickNs, known, pool, signal, lists, ...tracked })
    } catch (error) {
      await rm(lists, { force: true })
      throw error
    } finally {
      closeSync(root)
    }
  }

  /** Goes on from a newer look at the tree. */
  async #follow(tree: KeptTree): Promise<void> {
    const before = this.#tree?.lists.path
    this.#tree = tree
    // A scan that found nothing new is the tree before.
    const done = before !== undefined && before !== tree.lists.path && before !== this.base?.lists.path
    if (done) await rm(before, { force: true })
  }

  /** Each scan writes lists of its own: it reads those of the one before. */
  #listsPath(): string {
    this.#scans++
    return join(this.#directory, `lists.${this.#scans}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.making[Symbol.asyncDispose]()
  }
}
