import { join } from 'node:path'
import { codeOf } from '../model/errors.ts'
import type { Checkpoint, VolumeOptions } from '../model/model.ts'
import { writeDurably } from '../runtime/durable-file.ts'
import { applyStaged } from './apply/apply.ts'
import type { TrackingOptions } from './changes/open-tracking.ts'
import type { Capture, CaptureMode, LocalCopy, RemovedCopy, SpoolRound, TreeStore, Verification } from './contract.ts'
import type { BindMounts } from './disk/bind-mounts.ts'
import { orDiskFull, spaceOf } from './disk/free-space.ts'
import { type Layout, layoutOf } from './disk/layout.ts'
import { readCopyRecord, requireCopyRecord } from './disk/record-file.ts'
import { RemovedVolumes } from './disk/removed-volumes.ts'
import { diverge } from './disk/set-aside.ts'
import { copyInUse, unfinished } from './errors.ts'
import { recoverVolume } from './recovery.ts'
import { captureTree } from './scan/capture.ts'
import { discardTracking } from './spool/discard-tracking.ts'
import { committed } from './stage/journal.ts'
import type { SnapshotRef, TreeReader, TreeWriter } from './tree-contract.ts'
import { TurnQueue } from './turn-queue.ts'
import { scrub } from './verify/scrub.ts'
import { OpenVolume, type SharedParts } from './volume.ts'

type DiskStoreOptions = Pick<TrackingOptions, 'stateDir' | 'log'> & { readonly trashRetentionMs: number }

/** The store over one state directory, which this process has locked. */
export class DiskStore implements TreeStore, AsyncDisposable {
  readonly #options: DiskStoreOptions
  readonly #shared: SharedParts
  readonly #bindMounts: BindMounts
  readonly #lock: Disposable
  readonly #turns = new TurnQueue()
  /** Volumes that were used since the start. */
  readonly #volumes = new Map<string, OpenVolume>()
  readonly #removed: RemovedVolumes

  constructor(options: DiskStoreOptions, shared: SharedParts, bindMounts: BindMounts, lock: Disposable) {
    this.#options = options
    this.#shared = shared
    this.#bindMounts = bindMounts
    this.#lock = lock
    this.#removed = new RemovedVolumes(options.stateDir, options.trashRetentionMs)
  }

  copies(): Promise<{ copies: LocalCopy[]; damaged: { path: string; reason: string }[] }> {
    return this.#shared.records.all()
  }

  copy(id: string): Promise<LocalCopy | null> {
    return readCopyRecord(this.#layout(id))
  }

  create(volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy> {
    return this.#shared.records.create(this.#layout(volume.id), volume)
  }

  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.#shared.records.update(this.#layout(id), change)
  }

  capture(id: string, mode: CaptureMode, signal: AbortSignal): Promise<Capture> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const volume = this.#volume(id)
      // A copy that was found damaged is scanned again: an operator may have undone the change.
      const { name, checkpoint } = mode === 'quiet' ? await volume.requireFinished() : await volume.requireWhole()
      const capture = await captureTree(volume.captureParts(name), mode, checkpoint?.hash ?? null, signal)
      // From now on other hosts read the tree at rest.
      if (mode === 'quiet') {
        await volume.spool(name).drop()
        await volume.dropAside()
        await volume.judge(capture.hash, checkpoint)
      }
      return capture
    })
  }

  captureAside(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const volume = this.#volume(id)
      const { name } = await volume.requireWhole()
      return await volume.captureAside(name, signal)
    })
  }

  async probe(): Promise<void> {
    await writeDurably(join(this.#options.stateDir, 'probe'), [Buffer.from('.')])
  }

  spoolRound(id: string, signal: AbortSignal): Promise<SpoolRound> {
    return this.#ofHeld(id, async (volume, { name, checkpoint }) => {
      signal.throwIfAborted()
      try {
        return await volume.spool(name).round(checkpoint, signal)
      } catch (error) {
        if (codeOf(error) === 'CHANGES_MISSED') await this.#discardTracking(volume, name, error as Error)
        throw error
      }
    })
  }

  spoolFreeze(id: string, mode: CaptureMode, signal: AbortSignal): Promise<void> {
    return this.#ofHeld(id, async (volume, { name, checkpoint }) => {
      signal.throwIfAborted()
      await volume.spool(name).freeze(mode, checkpoint, signal)
    })
  }

  spoolLast(id: string, signal: AbortSignal): Promise<Capture> {
    return this.#ofHeld(id, (volume, { name }) => volume.spool(name).last(signal))
  }

  spoolThaw(id: string): Promise<void> {
    return this.#turns.run(id, () => this.#volume(id).thaw())
  }

  spoolCommit(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#ofHeld(id, (volume, copy) => volume.spool(copy.name).commit(checkpoint, copy))
  }

  diverge(id: string, at: string, bytes: number | null): Promise<LocalCopy> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      await this.#requireUnmounted(id)
      volume.requireNoWriter()
      const copy = await volume.requireFinished()
      const { name } = copy
      volume.forgetChanges()
      await volume.spool(name).drop()
      await volume.stage(name).drop()
      return await orDiskFull(volume.layout.directory, name, () => diverge(volume.divergingParts(), copy, at, bytes))
    })
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return spaceOf(this.#options.stateDir)
  }

  async reader(ref: SnapshotRef): Promise<TreeReader> {
    return await this.#volume(ref.id).reader(ref.kind)
  }

  async writer(given: { id: string; name: string; options: VolumeOptions }): Promise<TreeWriter> {
    const { id, name } = given
    const create = () => this.create(given)
    return await this.#volume(id).writer(name, create, (scan) => this.#turns.run(id, scan))
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      const copy = await requireCopyRecord(volume.layout)
      await this.#requireUnmounted(id)
      // What a holder wrote since its last checkpoint is nowhere else (promise 7).
      if (copy.held !== null) throw copyInUse(copy.name, 'held')
      volume.forgetChanges()
      await volume.spool(copy.name).drop()
      await applyStaged(volume.applyParts(copy.name), checkpoint)
    })
  }

  verify(id: string, signal: AbortSignal): Promise<Verification> {
    return this.#turns.scrub(id, async (stop) => {
      const volume = this.#volume(id)
      const copy = await volume.requireFinished()
      if (copy.held !== null) throw copyInUse(copy.name, 'held')
      await this.#requireUnmounted(id)
      const { layout } = volume
      const note = (damaged: readonly string[] | null) => volume.noteDamaged(damaged)
      const both = AbortSignal.any([signal, stop])
      const found = await scrub({ layout, volume: copy.name, copy, pool: this.#shared.pool, note, signal: both })
      // The tracker reports writes. What a disk has lost was not written: the next scan has to read it.
      if (found.damagedCount > 0) volume.forgetChanges()
      return found
    })
  }

  async recover(): Promise<void> {
    await this.#shared.records.removeUnborn()
    await this.#bindMounts.recover()
    for (const copy of (await this.copies()).copies) {
      try {
        const free = () => this.#requireUnmounted(copy.id)
        await this.#turns.run(copy.id, () => recoverVolume(this.#volume(copy.id), copy, free, this.#options.log))
      } catch (error) {
        // One damaged copy must not keep the others from starting. It stays `applying` and is not mounted.
        this.#options.log.error({ err: error, volume: copy.name, id: copy.id }, 'recovery of copy failed')
      }
    }
  }

  mount(id: string): Promise<string> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      const { name } = await volume.requireWhole()
      const { directory, data } = volume.layout
      return await orDiskFull(directory, name, () => this.#bindMounts.mount(id, data))
    })
  }

  async unmount(id: string): Promise<void> {
    await this.#bindMounts.unmount(id, this.#layout(id).data)
  }

  mountpoint(id: string): string {
    return this.#bindMounts.mountpoint(this.#layout(id).id)
  }

  mounted(): Promise<Set<string>> {
    return this.#bindMounts.mounted()
  }

  trash(id: string): Promise<void> {
    return this.#turns.run(id, async () => {
      const { directory } = await this.#closed(id)
      await this.#removed.trash(directory, id)
    })
  }

  setAside(id: string): Promise<string> {
    return this.#turns.run(id, async () => {
      const { directory } = await this.#closed(id)
      return await this.#removed.setAside(directory, await requireCopyRecord(this.#layout(id)))
    })
  }

  removed(): Promise<RemovedCopy[]> {
    return this.#removed.list()
  }

  emptyTrash(elapsedMs: number): Promise<string[]> {
    return this.#removed.emptyTrash(elapsedMs)
  }

  dropStage(id: string): Promise<void> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      volume.requireNoWriter()
      if ((await committed(volume.layout)) !== null) throw unfinished(id)
      await volume.stage(id).drop()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#turns.close()
    await this.#shared.pool[Symbol.asyncDispose]()
    for (const volume of this.#volumes.values()) await volume.close()
    const { tracking } = this.#shared
    if ('tracker' in tracking) tracking.tracker[Symbol.dispose]()
    this.#lock[Symbol.dispose]()
  }

  async #discardTracking(volume: OpenVolume, name: string, error: Error): Promise<void> {
    const others = (await this.copies()).copies.filter(({ id }) => id !== volume.layout.id)
    const forget = (id: string, name: string) =>
      this.#turns.run(id, () => this.#volume(id).spool(name).discardTracking())
    const { log } = this.#options
    await discardTracking({ tracking: this.#shared.tracking, spool: volume.spool(name), others, forget, log }, error)
  }

  /** Closes everything that this process has open in the copy's directory; returns its layout. */
  async #closed(id: string): Promise<Layout> {
    await this.#requireUnmounted(id)
    const volume = this.#volume(id)
    volume.requireNoWriter()
    volume.forgetChanges()
    await volume.close()
    this.#volumes.delete(id)
    return volume.layout
  }

  /** Runs work on a volume that this host holds, in its turn. */
  #ofHeld<T>(id: string, work: (volume: OpenVolume, copy: LocalCopy) => Promise<T>): Promise<T> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      return await work(volume, await volume.requireHeld())
    })
  }

  #volume(id: string): OpenVolume {
    const known = this.#volumes.get(id)
    if (known !== undefined) return known
    const volume = new OpenVolume(this.#layout(id), this.#shared)
    this.#volumes.set(id, volume)
    return volume
  }

  #layout(id: string): Layout {
    return layoutOf(this.#options.stateDir, id)
  }

  async #requireUnmounted(id: string): Promise<void> {
    if ((await this.#bindMounts.mounted()).has(id)) throw copyInUse(id, 'mounted')
  }
}
