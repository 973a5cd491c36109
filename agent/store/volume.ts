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
import { requireRecord } from './disk/record-file.ts'
import type { DivergingParts } from './disk/set-aside.ts'
import { copyRunning, damaged, inUse, noSuchTree, notHeld, unfinished } from './errors.ts'
import { type CaptureParts, captureTree, lookAtTree } from './scan/capture.ts'
import { readClockAndSync } from './scan/fs-clock.ts'
import type { Scratch } from './scan/scratch.ts'
import { openReader } from './snapshot/reader.ts'
import type { KeptKind, KeptTree } from './snapshot/saved-snapshot.ts'
import type { SnapshotRef } from './snapshot-ref.ts'
import { Spool } from './spool/spool.ts'
import { committed } from './stage/journal.ts'
import { Stage } from './stage/stage.ts'
import { StageWriter } from './stage/stage-writer.ts'
import type { TreeReader, TreeWriter } from './tree-contract.ts'
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
 * One volume as this process works on it: what it remembers of its stage and its spool, whether a writer is open, and what has to hold before
 * a work on its tree. `name` is the volume's, for messages.
 */
export class OpenVolume {
  readonly layout: Layout
  /** A writer is open. */
  #writing = false
  readonly #shared: SharedParts
  readonly #changes: TreeChanges
  /** Kept once it was staged for: it knows what it has checked already. */
  #stage: Stage | null = null
  #spool: Spool | null = null
  /** Where the last capture aside is; null: there is none. */
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
    // Whatever is staged for this tree must be told of what the disk loses.
    const sync = () => this.#stage?.sync() ?? readClockAndSync(this.layout.tick)
    return { layout: this.layout, volume: name, pool, sync, faultPoint, changes: this.#changes }
  }

  applyParts(name: string): ApplyParts {
    const { pool, faultPoint } = this.#shared
    return { layout: this.layout, volume: name, stage: this.stage(name), pool, update: this.update, faultPoint }
  }

  divergingParts(): DivergingParts {
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
      // What is there may be memory.
      await this.dropAside()
      throw error
    }
  }

  /** Gives back the room of the last capture aside. Safe to repeat. */
  async dropAside(): Promise<void> {
    if (this.#aside !== null) await rm(this.#aside, { recursive: true, force: true })
    this.#aside = null
  }

  /** Opens a kept tree for another host, see TreeStore.reader. Rejects as `requireWhole`, and NOT_AT_CHECKPOINT when it is not here. */
  async reader(kind: SnapshotRef['kind']): Promise<TreeReader> {
    const { name } = await this.requireWhole()
    const reader = await this.#reader(name, kind)
    if (reader === null) throw noSuchTree(name, kind)
    return reader
  }

  /** Opens the stage for what comes from another host. `create` makes the copy where there is none; `inTurn` has the tree looked at when nobody else works with it. */
  async writer(
    name: string,
    create: () => Promise<unknown>,
    inTurn: (look: () => Promise<KeptTree>) => Promise<KeptTree>,
  ): Promise<TreeWriter> {
    if (this.#writing) throw copyRunning(name, 'Wait for that copy.')
    this.#writing = true
    const closed = () => {
      this.#writing = false
    }
    try {
      await create()
      const parts = this.captureParts(name)
      const scan = (signal: AbortSignal) => inTurn(() => lookAtTree(parts, signal))
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

  #kept(name: string, kind: KeptKind, directory: string): Promise<TreeReader | null> {
    const { data } = this.layout
    const { pool, memory } = this.#shared
    return openReader({ directory, kind, data, volume: name, pool, memory })
  }

  /** Changes the copy's record, durably. */
  readonly update = (change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> => {
    return this.#shared.records.update(this.layout, change)
  }

  /**
   * Notes what a quiet look at a tree with this hash says of an idle copy: it is damaged unless that is its
   * checkpoint's. Durable on return.
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
      if (held !== null) throw inUse(name, 'held')
      return { damaged: paths }
    })
  }

  /** Rejects COPY_DAMAGED for a tree that an apply left between two checkpoints. */
  async requireFinished(): Promise<LocalCopy> {
    const copy = await requireRecord(this.layout)
    if (copy.applying || (await committed(this.layout)) !== null) throw unfinished(copy.name)
    return copy
  }

  /** Rejects COPY_DAMAGED for a tree that an apply left between two checkpoints, or that was found damaged. */
  async requireWhole(): Promise<LocalCopy> {
    const copy = await this.requireFinished()
    if (copy.damaged !== null) throw damaged(copy.name, copy.damaged)
    return copy
  }

  /** Rejects as `requireWhole`, and STALE_EPOCH when this host does not hold the volume. */
  async requireHeld(): Promise<LocalCopy> {
    const copy = await this.requireWhole()
    if (copy.held === null) throw notHeld(copy.name)
    return copy
  }

  requireNoWriter(): void {
    if (this.#writing) throw copyRunning(this.layout.id, 'Stop that copy first.')
  }

  /** The tree is about to be replaced: what is known of its changes is over. */
  forgetChanges(): void {
    this.#changes.forget()
  }

  /** Gives up what is frozen of the tree. */
  async thaw(): Promise<void> {
    await this.#spool?.thaw()
  }

  /** Gives back what is held open. */
  async close(): Promise<void> {
    await this.dropAside()
    await this.#stage?.close()
    await this.#spool?.close()
  }
}
