import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Checkpoint } from '../model/model.ts'
import type { BufferPool } from '../runtime/buffer-pool.ts'
import type { FaultPoint } from '../runtime/fault-point.ts'
import type { ApplyParts } from './apply/apply.ts'
import { type Tracking, TreeChanges } from './changes/tree-changes.ts'
import type { Capture, LocalCopy } from './contract.ts'
import type { CopyRecords } from './disk/copy-records.ts'
import type { Layout } from './disk/layout.ts'
import { requireCopyRecord } from './disk/record-file.ts'
import type { DivergeParts } from './disk/set-aside.ts'
import { copyInUse, damaged, holdMissing, noSuchTree, unfinished, writerOpen } from './errors.ts'
import { type CaptureParts, captureTree, scanIdleTree } from './scan/capture.ts'
import { readClockAndSync } from './scan/fs-clock.ts'
import type { Scratch } from './scan/scratch.ts'
import { openReader } from './snapshot/reader.ts'
import type { SavedKind, SavedTree } from './snapshot/saved-snapshot.ts'
import { Spool } from './spool/spool.ts'
import { committed } from './stage/journal.ts'
import { Stage } from './stage/stage.ts'
import { StageWriter } from './stage/stage-writer.ts'
import type { SnapshotRef, TreeReader, TreeWriter } from './tree-contract.ts'
import { firstChange } from './verify/first-change.ts'
import type { BlockPool } from './workers/contract.ts'

/** What the volumes of a state directory share. */
export interface SharedParts {
  readonly records: CopyRecords
  readonly pool: BlockPool
  readonly memory: BufferPool
  readonly faultPoint: FaultPoint
  readonly tracking: Tracking
  readonly scratch: Scratch
  /** See SpoolParts. */
  readonly atOnceBytes: number
}

/**
 * One volume as this process works on it: its stage, its spool, its open writer, and checks before work on its
 * tree.
 * The argument `name` is the volume's, for messages.
 */
export class OpenVolume {
  readonly layout: Layout
  /** A writer is open. */
  #writing = false
  readonly #shared: SharedParts
  readonly #changes: TreeChanges
  /** Kept after the first use: it knows what it has checked already. */
  #stage: Stage | null = null
  #spool: Spool | null = null
  /** Directory of the last capture aside; null: there is none. */
  #aside: string | null = null

  constructor(layout: Layout, shared: SharedParts) {
    this.layout = layout
    this.#shared = shared
    this.#changes = new TreeChanges(shared.tracking, layout.id)
  }

  stage(name: string): Stage {
    this.#stage ??= new Stage(this.layout, name, this.#shared.pool)
    return this.#stage
  }

  spool(name: string): Spool {
    const { memory, atOnceBytes } = this.#shared
    this.#spool ??= new Spool({ ...this.captureParts(name), memory, atOnceBytes, update: this.update })
    return this.#spool
  }

  captureParts(name: string): CaptureParts & { readonly changes: TreeChanges } {
    const { pool, faultPoint } = this.#shared
    // The stage of this tree must learn what the disk loses.
    const sync = () => this.#stage?.sync() ?? readClockAndSync(this.layout.tick)
    return { layout: this.layout, volume: name, pool, sync, faultPoint, changes: this.#changes }
  }

  applyParts(name: string): ApplyParts {
    const { pool, faultPoint } = this.#shared
    return { layout: this.layout, volume: name, stage: this.stage(name), pool, update: this.update, faultPoint }
  }

  divergingParts(): DivergeParts {
    return { layout: this.layout, update: this.update, faultPoint: this.#shared.faultPoint }
  }

  /** Captures the quiet tree into a directory of its own, outside of the state directory. */
  async captureAside(name: string, signal: AbortSignal): Promise<Capture> {
    await this.dropAside()
    const directory = await this.#shared.scratch.make()
    this.#aside = directory
    const layout = { ...this.layout, directory, tick: join(directory, 'tick') }
    const { pool, faultPoint } = this.#shared
    const sync = () => readClockAndSync(layout.tick)
    try {
      return await captureTree({ layout, volume: name, pool, sync, faultPoint }, 'quiet', null, signal)
    } catch (error) {
      // What was written may be in memory (tmpfs).
      await this.dropAside()
      throw error
    }
  }

  /** Frees the space of the last capture aside. May be repeated. */
  async dropAside(): Promise<void> {
    if (this.#aside !== null) await rm(this.#aside, { recursive: true, force: true })
    this.#aside = null
  }

  /**
   * Opens a tree for another host, see TreeStore.reader. Rejects as `requireWhole`.
   * NOT_AT_CHECKPOINT: the tree is not here.
   */
  async reader(kind: SnapshotRef['kind']): Promise<TreeReader> {
    const { name } = await this.requireWhole()
    const reader = await this.#reader(name, kind)
    if (reader === null) throw noSuchTree(name, kind)
    return reader
  }

  /**
   * Opens the stage for a tree of another host.
   * `create` makes the copy when there is none. `inTurn` runs the scan when nobody else works with the tree.
   */
  async writer(
    name: string,
    create: () => Promise<unknown>,
    inTurn: (scan: () => Promise<SavedTree>) => Promise<SavedTree>,
  ): Promise<TreeWriter> {
    if (this.#writing) throw writerOpen(name, 'Wait for that copy.')
    this.#writing = true
    const closed = () => {
      this.#writing = false
    }
    try {
      await create()
      const parts = this.captureParts(name)
      const scan = (signal: AbortSignal) => inTurn(() => scanIdleTree(parts, signal))
      const { faultPoint } = this.#shared
      return new StageWriter({ layout: this.layout, volume: name, stage: this.stage(name), scan, closed, faultPoint })
    } catch (error) {
      closed()
      throw error
    }
  }

  async #reader(name: string, kind: SnapshotRef['kind']): Promise<TreeReader | null> {
    if (kind === 'spool') return await this.spool(name).reader(() => this.requireWhole())
    if (kind === 'aside') return this.#aside === null ? null : await this.#kept(name, 'last', this.#aside)
    return await this.#kept(name, kind, this.layout.directory)
  }

  #kept(name: string, kind: SavedKind, directory: string): Promise<TreeReader | null> {
    const { data } = this.layout
    const { pool, memory } = this.#shared
    return openReader({ directory, kind, data, volume: name, pool, memory })
  }

  /** Changes the copy's record, durably. */
  readonly update = (change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> => {
    return this.#shared.records.update(this.layout, change)
  }

  /**
   * Notes the result of a quiet scan of an idle copy: damaged unless the hash is its checkpoint's.
   * Durable on return.
   */
  async judge(hash: string, checkpoint: Checkpoint | null): Promise<void> {
    if (checkpoint === null) return
    const isWhole = hash === checkpoint.hash
    const found = isWhole ? null : [await firstChange(this.layout.directory, checkpoint.hash)]
    await this.#shared.records.change(this.layout, ({ held, damaged, ...copy }) => {
      const isIdle = held === null && copy.checkpoint?.hash === checkpoint.hash
      return isIdle && isWhole !== (damaged === null) ? { damaged: found } : null
    })
  }

  /** Notes which paths of an idle copy are damaged, durably. VOLUME_IN_USE: it is held by now. */
  async noteDamaged(paths: readonly string[] | null): Promise<void> {
    await this.#shared.records.change(this.layout, ({ held, name }) => {
      if (held !== null) throw copyInUse(name, 'held')
      return { damaged: paths }
    })
  }

  /** Rejects COPY_DAMAGED when an apply has left the tree between two checkpoints. */
  async requireFinished(): Promise<LocalCopy> {
    const copy = await requireCopyRecord(this.layout)
    if (copy.applying || (await committed(this.layout)) !== null) throw unfinished(copy.name)
    return copy
  }

  /** Rejects COPY_DAMAGED when the tree is between two checkpoints or was found damaged. */
  async requireWhole(): Promise<LocalCopy> {
    const copy = await this.requireFinished()
    if (copy.damaged !== null) throw damaged(copy.name, copy.damaged)
    return copy
  }

  /** Rejects as `requireWhole`, and STALE_EPOCH when this host does not hold the volume. */
  async requireHeld(): Promise<LocalCopy> {
    const copy = await this.requireWhole()
    if (copy.held === null) throw holdMissing(copy.name)
    return copy
  }

  requireNoWriter(): void {
    if (this.#writing) throw writerOpen(this.layout.id, 'Stop that copy first.')
  }

  /** Discards what is known of the tree's changes: the tree is about to be replaced. */
  forgetChanges(): void {
    this.#changes.forget()
  }

  /** Drops what is frozen of the tree. */
  async thaw(): Promise<void> {
    await this.#spool?.thaw()
  }

  /** Closes everything that is open. */
  async close(): Promise<void> {
    await this.dropAside()
    await this.#stage?.close()
    await this.#spool?.close()
  }
}
