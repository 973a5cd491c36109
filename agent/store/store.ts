import { closeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { WherryError } from '../errors.ts'
import { Lanes } from '../lanes.ts'
import type { Checkpoint, VolumeOptions } from '../model.ts'
import { errnoOf } from '../sys/failure.ts'
import { lockFile } from '../sys/files.ts'
import { applyStaged } from './application.ts'
import type { Capture, LocalCopy, TreeReader, TreeStore, TreeWriter } from './contract.ts'
import { openRoot } from './directory.ts'
import { committed } from './journal.ts'
import { dropKept, type KeptKind, keepTree, loadUnchanged, manifestPath } from './kept.ts'
import { type Layout, layoutOf, trashDirectory, volumesDirectory } from './layout.ts'
import { makeManifest } from './manifest.ts'
import { Mounting, openMountRoot } from './mounting.ts'
import { openReader } from './reader.ts'
import { readRecord, requireRecord } from './record.ts'
import { Records } from './records.ts'
import { type Scan, scanTree } from './scan.ts'
import { orDiskFull } from './space.ts'
import { Stage } from './stage.ts'
import { tickAndSync } from './tick.ts'
import { emptyTrash, moveToTrash } from './trash.ts'
import type { FaultPoint } from './tree.ts'
import { StageWriter } from './writer.ts'

export interface StoreOptions {
  readonly stateDir: string
  readonly mountRoot: string
  readonly trashRetentionMs: number
  readonly log: Logger
  /** Called at each step of an apply, for tests that stop there. */
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
  return new DiskStore(options, new Mounting(await openMountRoot(options.mountRoot)), lock)
}

class DiskStore implements TreeStore, AsyncDisposable {
  readonly #stateDir: string
  readonly #trashRetentionMs: number
  readonly #log: Logger
  readonly #faultPoint: FaultPoint
  readonly #mounting: Mounting
  readonly #lock: Disposable
  readonly #records: Records
  /** Work on a tree or its kept manifests, by id. */
  readonly #trees = new Lanes()
  readonly #writers = new Set<string>()

  constructor(options: StoreOptions, mounting: Mounting, lock: Disposable) {
    this.#stateDir = options.stateDir
    this.#records = new Records(options.stateDir)
    this.#trashRetentionMs = options.trashRetentionMs
    this.#log = options.log
    this.#faultPoint = options.faultPoint ?? (() => {})
    this.#mounting = mounting
    this.#lock = lock
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
    return this.#trees.run(id, async () => {
      signal.throwIfAborted()
      const { name } = await this.#requireWhole(id)
      const layout = this.#layout(id)
      const scan = await this.#scan(layout, name, kind === 'quiet', signal)
      const manifest = await makeManifest(scan.entries)
      // A live look that was cut off is kept too: the capture that follows need not read again what it has read.
      await orDiskFull(layout.directory, name, () =>
        keepTree(layout.directory, kind === 'quiet' ? 'last' : 'live', manifest, scan.seen),
      )
      if (kind === 'quiet') await dropKept(layout.directory, 'live')
      if (!scan.complete) throw signal.reason
      const { hash, bytes, files } = manifest
      return { hash, bytes, files, filesRead: scan.filesRead, bytesRead: scan.bytesRead }
    })
  }

  async reader(id: string, kind: KeptKind): Promise<TreeReader> {
    const { name } = await this.#requireWhole(id)
    const layout = this.#layout(id)
    try {
      return await openReader(manifestPath(layout.directory, kind), layout.data, name)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      throw new WherryError('NOT_AT_CHECKPOINT', `Volume ${name} has no ${kind} manifest on this host.`, {
        hint: kind === 'live' ? 'Ask for its last checkpoint.' : 'Ask a host that has a checkpoint of it.',
        cause: error,
      })
    }
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
      const scan = (signal: AbortSignal) => this.#trees.run(id, () => this.#look(layout, name, signal))
      return new StageWriter({ layout, volume: name, scan, closed: () => this.#writers.delete(id) })
    } catch (error) {
      this.#writers.delete(id)
      throw error
    }
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#trees.run(id, async () => {
      const copy = await requireRecord(this.#layout(id))
      await this.#requireUnmounted(id)
      // What a holder wrote since its last checkpoint is nowhere else (promise 7).
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#apply(this.#layout(id), copy.name, checkpoint)
    })
  }

  async recover(): Promise<void> {
    await this.#records.removeUnborn()
    for (const copy of (await this.copies()).copies) {
      try {
        await this.#trees.run(copy.id, () => this.#recover(copy))
      } catch (error) {
        // One damaged copy must not keep the others from starting; it stays `applying` and is not mounted.
        this.#log.error({ err: error, volume: copy.name, id: copy.id }, 'an apply that was cut off cannot be finished')
      }
    }
  }

  mount(id: string): Promise<string> {
    return this.#trees.run(id, async () => {
      await this.#requireWhole(id)
      return await this.#mounting.mount(id, this.#layout(id).data)
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
    return this.#trees.run(id, async () => {
      await this.#requireUnmounted(id)
      this.#requireNoWriter(id)
      await moveToTrash(this.#layout(id).directory, id, trashDirectory(this.#stateDir), new Date())
    })
  }

  emptyTrash(now: Date): Promise<string[]> {
    return emptyTrash(trashDirectory(this.#stateDir), new Date(now.getTime() - this.#trashRetentionMs))
  }

  dropStage(id: string): Promise<void> {
    return this.#trees.run(id, async () => {
      const layout = this.#layout(id)
      this.#requireNoWriter(id)
      if ((await committed(layout)) !== null) throw unfinished(id)
      await new Stage(layout.stage).drop()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock[Symbol.dispose]()
  }

  async #recover(copy: LocalCopy): Promise<void> {
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
    const scan = (signal: AbortSignal) => this.#look(layout, volume, signal)
    const update = (change: Partial<Omit<LocalCopy, 'id'>>) => this.update(layout.id, change)
    return applyStaged({ layout, volume, scan, update, faultPoint: this.#faultPoint }, checkpoint)
  }

  /** Looks at a tree that nobody should be changing, and keeps what was seen so that the next look reads nothing again. */
  async #look(layout: Layout, volume: string, signal: AbortSignal): Promise<Scan> {
    const scan = await this.#scan(layout, volume, false, signal)
    if (!scan.complete) throw signal.reason
    if (scan.filesRead === 0) return scan
    await keepTree(layout.directory, 'live', await makeManifest(scan.entries), scan.seen)
    return scan
  }

  async #scan(layout: Layout, volume: string, quiet: boolean, signal: AbortSignal): Promise<Scan> {
    const unchanged = await loadUnchanged(layout.directory)
    const tickNs = await tickAndSync(layout.tick)
    const root = openRoot(layout.data)
    try {
      return await scanTree(root, { volume, quiet, tickNs, unchanged, signal })
    } finally {
      closeSync(root)
    }
  }

  #layout(id: string): Layout {
    return layoutOf(this.#stateDir, id)
  }

  /** Rejects COPY_DAMAGED for a tree that an apply left between two checkpoints. */
  async #requireWhole(id: string): Promise<LocalCopy> {
    const copy = await requireRecord(this.#layout(id))
    if (copy.applying || (await committed(this.#layout(id))) !== null) throw unfinished(copy.name)
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
