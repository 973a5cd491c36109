import { closeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { WherryError } from '../errors.ts'
import { type FaultPoint, noFault } from '../fault-point.ts'
import { Lanes } from '../lanes.ts'
import type { Checkpoint, VolumeOptions } from '../model.ts'
import { Recycler } from '../recycler.ts'
import { lockFile } from '../sys/files.ts'
import { applyStaged } from './apply/application.ts'
import { proveApplied } from './apply/proof.ts'
import { dropRehearsal } from './apply/rehearsal.ts'
import { type Scan, scanTree } from './capture/scan.ts'
import { tickAndSync } from './capture/tick.ts'
import type { Capture, LocalCopy, TreeStore, Verification } from './contract.ts'
import { readRecord, requireRecord } from './copies/record.ts'
import { Records } from './copies/records.ts'
import { orDiskFull } from './copies/space.ts'
import { emptyTrash, moveToTrash } from './copies/trash.ts'
import type { TreeReader, TreeWriter } from './exchange.ts'
import { openRoot } from './inode/directory.ts'
import { type Layout, layoutOf, trashDirectory, volumesDirectory } from './layout.ts'
import { Mounting, openMountRoot } from './mounting.ts'
import type { BlockPool } from './pool/contract.ts'
import { openBlockPool } from './pool/pool.ts'
import { tagKey } from './pool/tag-key.ts'
import {
  dropKept,
  type KeptKind,
  type KeptTree,
  type Known,
  keepSnapshot,
  loadKnown,
  scannedListsPath,
} from './snapshot/kept.ts'
import { openReader } from './snapshot/reader.ts'
import { committed } from './stage/journal.ts'
import { Stage } from './stage/stage.ts'
import { StageWriter } from './stage/writer.ts'
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
  if (lock === null) {
    throw new WherryError('STATE_LOCKED', `Another process works in ${options.stateDir}.`, {
      hint: 'Run one agent per state directory; stop the other one.',
    })
  }
  const threads = Math.min(POOL_THREADS_MAX, Math.max(POOL_THREADS_MIN, availableParallelism()))
  const memory = options.memory ?? new Recycler()
  const pool = openBlockPool({ threads, log: options.log, memory, tagKey: await tagKey(options.stateDir) })
  return new DiskStore(options, new Mounting(await openMountRoot(options.mountRoot)), lock, pool, memory)
}

type CopyChange = Partial<Omit<LocalCopy, 'id'>>

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
  /** Work on a tree or its kept manifests, by id. */
  readonly #lanes = new Lanes()
  readonly #writers = new Set<string>()
  /** One for each volume that was staged for: it knows what it has checked already. */
  readonly #stages = new Map<string, Stage>()
  /** Scrubs that wait or run, by id: whatever else is wanted of the tree comes first. */
  readonly #scrubs = new Map<string, AbortController>()

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
    return this.#withTree(id, async () => {
      signal.throwIfAborted()
      const { name } = await this.#requireWhole(id)
      const layout = this.#layout(id)
      const { scan, known } = await this.#scan(layout, name, kind === 'quiet', signal)
      // A live look that was cut off is kept too: the capture that follows need not read again what it has read.
      const kept = kind === 'quiet' ? 'last' : 'live'
      this.#faultPoint('scanned')
      await this.#keep(layout, name, kept, knownAs(scan, known), known)
      this.#faultPoint('captured')
      if (kind === 'quiet') await dropKept(layout.directory, 'live')
      this.#faultPoint('live-dropped')
      if (!scan.complete) throw signal.reason
      const { hash, bytes, files } = scan.manifest
      return { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
    })
  }

  async reader(id: string, kind: KeptKind): Promise<TreeReader> {
    const { name } = await this.#requireWhole(id)
    const { directory, data } = this.#layout(id)
    const reader = await openReader({ directory, kind, data, volume: name, pool: this.#pool, memory: this.#memory })
    if (reader !== null) return reader
    throw new WherryError('NOT_AT_CHECKPOINT', `Volume ${name} has no ${kind} manifest on this host.`, {
      hint: kind === 'live' ? 'Ask for its last checkpoint.' : 'Ask a host that has a checkpoint of it.',
    })
  }

  async writer(volume: { id: string; name: string; options: VolumeOptions }): Promise<TreeWriter> {
    const { id, name } = volume
    const layout = this.#layout(id)
    if (this.#writers.has(id)) {
      throw new WherryError('COPY_RUNNING', `Volume ${name} is being copied to this host already.`, {
        hint: 'Wait for that copy.',
      })
    }
    this.#writers.add(id)
    try {
      await this.create(volume)
      const scan = (signal: AbortSignal) => this.#withTree(id, () => this.#look(layout, name, signal))
      const closed = () => this.#writers.delete(id)
      const stage = this.#stage(layout, name)
      return new StageWriter({ layout, volume: name, stage, scan, closed, faultPoint: this.#faultPoint })
    } catch (error) {
      this.#writers.delete(id)
      throw error
    }
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#withTree(id, async () => {
      const copy = await requireRecord(this.#layout(id))
      await this.#requireUnmounted(id)
      // What a holder wrote since its last checkpoint is nowhere else (promise 7).
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#apply(this.#layout(id), copy.name, checkpoint)
    })
  }

  verify(id: string, signal: AbortSignal): Promise<Verification> {
    const layout = this.#layout(id)
    const stop = new AbortController()
    const running = this.#withTree(id, async () => {
      const copy = await requireRecord(layout)
      if (copy.applying || (await committed(layout)) !== null) throw unfinished(copy.name)
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#requireUnmounted(id)
      const { pool, update } = { pool: this.#pool, update: (change: CopyChange) => this.update(id, change) }
      const both = AbortSignal.any([signal, stop.signal])
      return await scrub({ layout, volume: copy.name, copy, pool, update, signal: both })
    })
    this.#scrubs.set(id, stop)
    const forget = () => {
      if (this.#scrubs.get(id) === stop) this.#scrubs.delete(id)
    }
    return running.finally(forget)
  }

  async recover(): Promise<void> {
    await this.#records.removeUnborn()
    for (const copy of (await this.copies()).copies) {
      try {
        await this.#withTree(copy.id, () => this.#recover(copy))
      } catch (error) {
        // One damaged copy must not keep the others from starting; it stays `applying` and is not mounted.
        this.#log.error({ err: error, volume: copy.name, id: copy.id }, 'an apply that was cut off cannot be finished')
      }
    }
  }

  mount(id: string): Promise<string> {
    return this.#withTree(id, async () => {
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
    return this.#withTree(id, async () => {
      await this.#requireUnmounted(id)
      this.#requireNoWriter(id)
      await this.#stages.get(id)?.close()
      this.#stages.delete(id)
      await moveToTrash(this.#layout(id).directory, id, trashDirectory(this.#stateDir), new Date())
    })
  }

  emptyTrash(now: Date): Promise<string[]> {
    return emptyTrash(trashDirectory(this.#stateDir), new Date(now.getTime() - this.#trashRetentionMs))
  }

  dropStage(id: string): Promise<void> {
    return this.#withTree(id, async () => {
      const layout = this.#layout(id)
      this.#requireNoWriter(id)
      if ((await committed(layout)) !== null) throw unfinished(id)
      await this.#stage(layout, id).drop()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const scrub of this.#scrubs.values()) scrub.abort(closing())
    await this.#pool[Symbol.asyncDispose]()
    for (const stage of this.#stages.values()) await stage.close()
    this.#lock[Symbol.dispose]()
  }

  async #recover(copy: LocalCopy): Promise<void> {
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
    const { directory, data } = layout
    const [stage, pool] = [this.#stage(layout, volume), this.#pool]
    const parts = { layout, volume, stage, pool, faultPoint: this.#faultPoint }
    return applyStaged(
      {
        ...parts,
        look: (signal) => this.#look(layout, volume, signal),
        update: (change) => this.update(layout.id, change),
        prove: async (plan, before) => {
          const lists = scannedListsPath(directory)
          const tree = await proveApplied({ volume, data, lists, plan, before, stage, pool })
          this.#faultPoint('verified')
          await this.#keep(layout, volume, 'last', tree, null)
          await dropKept(directory, 'live')
        },
      },
      checkpoint,
    )
  }

  /** Looks at a tree that nobody should be changing, and keeps what was seen so that the next look reads nothing again. */
  async #look(layout: Layout, volume: string, signal: AbortSignal): Promise<KeptTree> {
    const { scan, known } = await this.#scan(layout, volume, false, signal)
    if (!scan.complete) throw signal.reason
    const tree = knownAs(scan, known)
    if (tree === scan) await this.#keep(layout, volume, 'live', scan, known)
    return tree
  }

  async #keep(layout: Layout, volume: string, kind: KeptKind, tree: KeptTree, known: Known | null): Promise<void> {
    const { directory } = layout
    await orDiskFull(directory, volume, () => keepSnapshot(directory, kind, tree, known, this.#faultPoint))
  }

  async #scan(
    layout: Layout,
    volume: string,
    quiet: boolean,
    signal: AbortSignal,
  ): Promise<{ scan: Scan; known: Known }> {
    const known = await loadKnown(layout.directory)
    const tickNs = await orDiskFull(layout.directory, volume, async () => {
      return (await this.#stages.get(layout.id)?.sync()) ?? (await tickAndSync(layout.tick))
    })
    const root = openRoot(layout.data)
    try {
      const lists = scannedListsPath(layout.directory)
      const scan = await scanTree(root, { volume, quiet, tickNs, known, pool: this.#pool, signal, lists })
      return { scan, known }
    } finally {
      closeSync(root)
    }
  }

  /** Does one thing after another with a tree. A scrub gives way. */
  #withTree<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#scrubs.get(id)?.abort(stoppedScrub(id))
    return this.#lanes.run(id, work)
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

  async #requireUnmounted(id: string): Promise<void> {
    if (!(await this.#mounting.mounted()).has(id)) return
    throw inUse(id, 'mounted')
  }

  #requireNoWriter(id: string): void {
    if (!this.#writers.has(id)) return
    throw new WherryError('COPY_RUNNING', `Volume ${id} is being copied to this host.`, {
      hint: 'Stop that copy first.',
    })
  }
}

/** A scan that found nothing new is the kept snapshot: it need not be written again. */
function knownAs(scan: Scan, known: Known): KeptTree {
  return [known.live, known.last].find((tree) => tree?.manifest === scan.manifest) ?? scan
}

function stoppedScrub(id: string): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume ${id} is wanted: reading its copy on this host again was stopped.`, {
    hint: 'Check it again when it is idle.',
  })
}

function closing(): WherryError {
  return new WherryError('VOLUME_IN_USE', 'This agent is shutting down.', { hint: 'Check the copy again later.' })
}

function damaged(volume: string, paths: readonly string[]): WherryError {
  const what = `The copy of volume ${volume} on this host is damaged: ${paths.join(', ')}.`
  return new WherryError('COPY_DAMAGED', what, {
    hint: "Check this host's disk; let the copy be filled again from a host that has it, which brings only what is damaged.",
  })
}

function inUse(volume: string, how: 'held' | 'mounted'): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume ${volume} is ${how} on this host.`, {
    hint: 'Stop the containers that use it first.',
  })
}

function unfinished(volume: string): WherryError {
  return new WherryError('COPY_DAMAGED', `The copy of volume ${volume} on this host is between two checkpoints.`, {
    hint: 'Let it be filled again from a host that has it; that finishes by itself when such a host is reachable.',
  })
}
