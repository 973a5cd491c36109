import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { type FaultPoint, noFault } from '../fault-point.ts'
import type { Checkpoint, VolumeOptions } from '../model.ts'
import { Recycler } from '../recycler.ts'
import { lockFile } from '../sys/files.ts'
import { applyStaged } from './apply/application.ts'
import { dropRehearsal } from './apply/rehearsal.ts'
import { type CaptureParts, captureTree, lookAtTree } from './capture/capture.ts'
import { tickAndSync } from './capture/tick.ts'
import type { Capture, LocalCopy, SpoolRound, TreeStore, Verification } from './contract.ts'
import { readRecord, requireRecord } from './copies/record.ts'
import { Records } from './copies/records.ts'
import { orDiskFull, spaceOf } from './copies/space.ts'
import { emptyTrash, moveToTrash } from './copies/trash.ts'
import { type DivergingParts, diverge, finishDiverging } from './diverged/diverging.ts'
import type { TreeReader, TreeWriter } from './exchange.ts'
import { type Layout, layoutOf, trashDirectory, volumesDirectory } from './layout.ts'
import { Mounting, openMountRoot } from './mounting.ts'
import type { BlockPool } from './pool/contract.ts'
import { openBlockPool } from './pool/pool.ts'
import { tagKey } from './pool/tag-key.ts'
import { copyRunning, damaged, inUse, locked, neverKept, notHeld, unfinished } from './refusals.ts'
import type { KeptKind } from './snapshot/kept.ts'
import { openReader } from './snapshot/reader.ts'
import { Spool } from './spool/spool.ts'
import { committed } from './stage/journal.ts'
import { Stage } from './stage/stage.ts'
import { StageWriter } from './stage/writer.ts'
import { Turns } from './turns.ts'
import { scrub } from './verify/scrub.ts'

/** On more cores the disk, not the hashing, is what takes the time. */
const POOL_THREADS_MAX = 4
/** While one waits for the disk the other computes. */
const POOL_THREADS_MIN = 2

export interface StoreOptions {
  readonly stateDir: string
  readonly mountRoot: string
  readonly trashRetentionMs: number
  readonly log: Logger
  /** Shared with whoever carries the data. */
  readonly memory?: Recycler
  /** Called at each step of a capture, a writer and an apply, for tests that stop there. */
  readonly faultPoint?: FaultPoint
}

/**
 * Opens the state directory for this process alone, making it when missing. Rejects STATE_LOCKED while another process
 * has it. Call `recover` before anything else. Disposing gives the lock back; mounts stay.
 */
export async function openStore(options: StoreOptions): Promise<TreeStore & AsyncDisposable> {
  await mkdir(volumesDirectory(options.stateDir), { recursive: true, mode: 0o700 })
  await mkdir(trashDirectory(options.stateDir), { recursive: true, mode: 0o700 })
  const lock = lockFile(join(options.stateDir, 'lock'))
  if (lock === null) throw locked(options.stateDir)
  const threads = Math.min(POOL_THREADS_MAX, Math.max(POOL_THREADS_MIN, availableParallelism()))
  const memory = options.memory ?? new Recycler()
  const pool = openBlockPool({ threads, log: options.log, memory, tagKey: await tagKey(options.stateDir) })
  return new DiskStore(options, new Mounting(await openMountRoot(options.mountRoot)), lock, pool, memory)
}

class DiskStore implements TreeStore, AsyncDisposable {
  readonly #memory: Recycler
  readonly #stateDir: string
  readonly #trashRetentionMs: number
  readonly #log: Logger
  readonly #faultPoint: FaultPoint
  readonly #mounting: Mounting
  readonly #lock: Disposable
  readonly #pool: BlockPool
  readonly #records: Records
  readonly #turns = new Turns()
  readonly #writers = new Set<string>()
  readonly #spools = new Map<string, Spool>()
  /** One for each volume that was staged for: it knows what it has checked already. */
  readonly #stages = new Map<string, Stage>()

  constructor(options: StoreOptions, mounting: Mounting, lock: Disposable, pool: BlockPool, memory: Recycler) {
    this.#memory = memory
    this.#stateDir = options.stateDir
    this.#records = new Records(options.stateDir)
    this.#trashRetentionMs = options.trashRetentionMs
    this.#log = options.log
    this.#faultPoint = options.faultPoint ?? noFault
    this.#mounting = mounting
    this.#lock = lock
    this.#pool = pool
  }

  copies(): Promise<{ copies: LocalCopy[]; damaged: { path: string; reason: string }[] }> {
    return this.#records.all()
  }

  copy(id: string): Promise<LocalCopy | null> {
    return readRecord(this.#layout(id))
  }

  create(volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy> {
    return this.#records.create(this.#layout(volume.id), volume)
  }

  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.#records.update(this.#layout(id), change)
  }

  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const { name } = await this.#requireWhole(id)
      const capture = await captureTree(this.#captureParts(this.#layout(id), name), kind, signal)
      // What others may read from now on is the tree at rest.
      if (kind === 'quiet') await this.#spool(id, name).drop()
      return capture
    })
  }

  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const { name } = await this.#requireHeld(id)
      return await this.#spool(id, name).round(signal)
    })
  }

  spoolLast(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const { name } = await this.#requireHeld(id)
      return await this.#spool(id, name).last(kind, signal)
    })
  }

  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#turns.run(id, async () => {
      const copy = await this.#requireHeld(id)
      await this.#spool(id, copy.name).commit(checkpoint, copy)
    })
  }

  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    return this.#turns.run(id, async () => {
      const layout = this.#layout(id)
      const copy = await requireRecord(layout)
      await this.#requireUnmounted(id)
      this.#requireNoWriter(id)
      if (copy.applying || (await committed(layout)) !== null) throw unfinished(copy.name)
      await this.#spool(id, copy.name).drop()
      await this.#stage(layout, copy.name).drop()
      return await orDiskFull(layout.directory, copy.name, () => diverge(this.#divergingParts(layout), copy, at, bytes))
    })
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return spaceOf(this.#stateDir)
  }

  async reader(id: string, kind: 'last' | 'spool' | 'live'): Promise<TreeReader> {
    const { name } = await this.#requireWhole(id)
    const reader = kind === 'spool' ? await this.#spoolReader(id, name) : await this.#keptReader(id, name, kind)
    if (reader === null) throw neverKept(name, kind)
    return reader
  }

  async writer(volume: { id: string; name: string; options: VolumeOptions }): Promise<TreeWriter> {
    const { id, name } = volume
    const layout = this.#layout(id)
    if (this.#writers.has(id)) throw copyRunning(name, 'Wait for that copy.')
    this.#writers.add(id)
    try {
      await this.create(volume)
      const parts = this.#captureParts(layout, name)
      const scan = (signal: AbortSignal) => this.#turns.run(id, () => lookAtTree(parts, signal))
      const closed = () => this.#writers.delete(id)
      const stage = this.#stage(layout, name)
      return new StageWriter({ layout, volume: name, stage, scan, closed, faultPoint: this.#faultPoint })
    } catch (error) {
      this.#writers.delete(id)
      throw error
    }
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#turns.run(id, async () => {
      const copy = await requireRecord(this.#layout(id))
      await this.#requireUnmounted(id)
      // What a holder wrote since its last checkpoint is nowhere else (promise 7).
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#spool(id, copy.name).drop()
      await this.#apply(this.#layout(id), copy.name, checkpoint)
    })
  }

  verify(id: string, signal: AbortSignal): Promise<Verification> {
    return this.#turns.scrub(id, async (stop) => {
      const layout = this.#layout(id)
      const copy = await requireRecord(layout)
      if (copy.applying || (await committed(layout)) !== null) throw unfinished(copy.name)
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#requireUnmounted(id)
      const update = (change: Partial<Omit<LocalCopy, 'id'>>) => this.update(id, change)
      const both = AbortSignal.any([signal, stop])
      return await scrub({ layout, volume: copy.name, copy, pool: this.#pool, update, signal: both })
    })
  }

  async recover(): Promise<void> {
    await this.#records.removeUnborn()
    for (const copy of (await this.copies()).copies) {
      try {
        await this.#turns.run(copy.id, () => this.#recover(copy))
      } catch (error) {
        // One damaged copy must not keep the others from starting; it stays `applying` and is not mounted.
        this.#log.error({ err: error, volume: copy.name, id: copy.id }, 'what a crash has cut off cannot be finished')
      }
    }
  }

  mount(id: string): Promise<string> {
    return this.#turns.run(id, async () => {
      const { name } = await this.#requireWhole(id)
      const { directory, data } = this.#layout(id)
      return await orDiskFull(directory, name, () => this.#mounting.mount(id, data))
    })
  }

  async unmount(id: string): Promise<void> {
    this.#layout(id)
    await this.#mounting.unmount(id)
  }

  mountpoint(id: string): string {
    return this.#mounting.mountpoint(this.#layout(id).id)
  }

  mounted(): Promise<Set<string>> {
    return this.#mounting.mounted()
  }

  trash(id: string): Promise<void> {
    return this.#turns.run(id, async () => {
      await this.#requireUnmounted(id)
      this.#requireNoWriter(id)
      await this.#stages.get(id)?.close()
      this.#stages.delete(id)
      await this.#spools.get(id)?.close()
      this.#spools.delete(id)
      await moveToTrash(this.#layout(id).directory, id, trashDirectory(this.#stateDir), new Date())
    })
  }

  emptyTrash(now: Date): Promise<string[]> {
    return emptyTrash(trashDirectory(this.#stateDir), new Date(now.getTime() - this.#trashRetentionMs))
  }

  dropStage(id: string): Promise<void> {
    return this.#turns.run(id, async () => {
      const layout = this.#layout(id)
      this.#requireNoWriter(id)
      if ((await committed(layout)) !== null) throw unfinished(id)
      await this.#stage(layout, id).drop()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#turns.close()
    await this.#pool[Symbol.asyncDispose]()
    for (const stage of this.#stages.values()) await stage.close()
    for (const spool of this.#spools.values()) await spool.close()
    this.#lock[Symbol.dispose]()
  }

  async #recover(found: LocalCopy): Promise<void> {
    const copy = await finishDiverging(this.#divergingParts(this.#layout(found.id)), found)
    await this.#spool(copy.id, copy.name).recover(copy)
    await dropRehearsal(this.#layout(copy.id).directory)
    const checkpoint = await committed(this.#layout(copy.id))
    const about = { volume: copy.name, id: copy.id }
    if (checkpoint !== null) {
      this.#log.info({ ...about, epoch: checkpoint.epoch, seq: checkpoint.seq }, 'finishing an apply that was cut off')
      await this.#requireUnmounted(copy.id)
      await this.#apply(this.#layout(copy.id), copy.name, checkpoint)
    } else if (copy.applying) {
      this.#log.warn(about, 'the copy is between two checkpoints and must be filled again')
    }
  }

  #apply(layout: Layout, volume: string, checkpoint: Checkpoint): Promise<void> {
    const [stage, pool, faultPoint] = [this.#stage(layout, volume), this.#pool, this.#faultPoint]
    const update = (change: Partial<Omit<LocalCopy, 'id'>>) => this.update(layout.id, change)
    return applyStaged({ layout, volume, stage, pool, update, faultPoint }, checkpoint)
  }

  #captureParts(layout: Layout, volume: string): CaptureParts {
    // Whatever is staged for this tree must be told of what the disk loses.
    const sync = () => this.#stages.get(layout.id)?.sync() ?? tickAndSync(layout.tick)
    return { layout, volume, pool: this.#pool, sync, faultPoint: this.#faultPoint }
  }

  async #keptReader(id: string, volume: string, kind: KeptKind): Promise<TreeReader | null> {
    const { directory, data } = this.#layout(id)
    return await openReader({ directory, kind, data, volume, pool: this.#pool, memory: this.#memory })
  }

  #spoolReader(id: string, volume: string): Promise<TreeReader | null> {
    return this.#spool(id, volume).reader(() => this.#requireWhole(id))
  }

  #spool(id: string, volume: string): Spool {
    const known = this.#spools.get(id)
    if (known !== undefined) return known
    const layout = this.#layout(id)
    const { sync } = this.#captureParts(layout, volume)
    const update = (change: Partial<Omit<LocalCopy, 'id'>>) => this.update(id, change)
    const [pool, memory, faultPoint] = [this.#pool, this.#memory, this.#faultPoint]
    const spool = new Spool({ layout, volume, pool, memory, sync, update, faultPoint })
    this.#spools.set(id, spool)
    return spool
  }

  #divergingParts(layout: Layout): DivergingParts {
    return { layout, update: (change) => this.update(layout.id, change), faultPoint: this.#faultPoint }
  }

  #stage(layout: Layout, volume: string): Stage {
    const known = this.#stages.get(layout.id)
    if (known !== undefined) return known
    const stage = new Stage(layout, volume, this.#pool)
    this.#stages.set(layout.id, stage)
    return stage
  }

  #layout(id: string): Layout {
    return layoutOf(this.#stateDir, id)
  }

  /** Rejects COPY_DAMAGED for a tree that an apply left between two checkpoints, or that was found damaged. */
  async #requireWhole(id: string): Promise<LocalCopy> {
    const copy = await requireRecord(this.#layout(id))
    if (copy.applying || (await committed(this.#layout(id))) !== null) throw unfinished(copy.name)
    if (copy.damaged !== null) throw damaged(copy.name, copy.damaged)
    return copy
  }

  /** Rejects as `#requireWhole`, and STALE_EPOCH when this host does not hold the volume. */
  async #requireHeld(id: string): Promise<LocalCopy> {
    const copy = await this.#requireWhole(id)
    if (copy.held === null) throw notHeld(copy.name)
    return copy
  }

  async #requireUnmounted(id: string): Promise<void> {
    if (!(await this.#mounting.mounted()).has(id)) return
    throw inUse(id, 'mounted')
  }

  #requireNoWriter(id: string): void {
    if (this.#writers.has(id)) throw copyRunning(id, 'Stop that copy first.')
  }
}
