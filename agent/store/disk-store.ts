import { basename, join } from 'node:path'
import { codeOf } from '../model/errors.ts'
import type { Checkpoint, VolumeOptions } from '../model/model.ts'
import { writeDurably } from '../runtime/durable-file.ts'
import { bootTimeMs } from '../sys/boot-time.ts'
import { applyStaged } from './apply/apply.ts'
import type { TrackingOptions } from './changes/open-tracking.ts'
import type { Capture, LocalCopy, RemovedCopy, SpoolRound, TreeStore, Verification } from './contract.ts'
import type { BindMounts } from './disk/bind-mounts.ts'
import { orDiskFull, spaceOf } from './disk/free-space.ts'
import { asideDirectory, type Layout, layoutOf, trashDirectory } from './disk/layout.ts'
import { readRecord, requireRecord } from './disk/record-file.ts'
import { moveAside, type Named, removedCopies } from './disk/removed-copies.ts'
import { diverge } from './disk/set-aside.ts'
import { emptyTrash, moveToTrash, trashedUntil } from './disk/trash.ts'
import { inUse, unfinished } from './errors.ts'
import { recoverVolume } from './recovery.ts'
import { captureTree } from './scan/capture.ts'
import type { SnapshotRef } from './snapshot-ref.ts'
import { distrust } from './spool/discard-tracking.ts'
import { committed } from './stage/journal.ts'
import type { TreeReader, TreeWriter } from './tree-contract.ts'
import { Turns } from './turn-queue.ts'
import { scrub } from './verify/scrub.ts'
import { OpenVolume, type SharedParts } from './volume.ts'

type DiskStoreOptions = Pick<TrackingOptions, 'stateDir' | 'log'> & { readonly trashRetentionMs: number }

/** The store over one state directory, which this process has locked. */
export class DiskStore implements TreeStore, AsyncDisposable {
  readonly #options: DiskStoreOptions
  readonly #shared: SharedParts
  readonly #mounting: BindMounts
  readonly #lock: Disposable
  readonly #turns = new Turns()
  /** Those that were worked on since the start. */
  readonly #volumes = new Map<string, OpenVolume>()
  readonly #removed: { readonly trash: Named; readonly aside: Named } = { trash: new Map(), aside: new Map() }

  constructor(options: DiskStoreOptions, shared: SharedParts, mounting: BindMounts, lock: Disposable) {
    this.#options = options
    this.#shared = shared
    this.#mounting = mounting
    this.#lock = lock
  }

  copies(): Promise<{ copies: LocalCopy[]; damaged: { path: string; reason: string }[] }> {
    return this.#shared.records.all()
  }

  copy(id: string): Promise<LocalCopy | null> {
    return readRecord(this.#layout(id))
  }

  create(volume: { id: string; name: string; options: VolumeOptions }): Promise<LocalCopy> {
    return this.#shared.records.create(this.#layout(volume.id), volume)
  }

  update(id: string, change: Partial<Omit<LocalCopy, 'id'>>): Promise<LocalCopy> {
    return this.#shared.records.update(this.#layout(id), change)
  }

  capture(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<Capture> {
    return this.#turns.run(id, async () => {
      signal.throwIfAborted()
      const volume = this.#volume(id)
      // What was found damaged is looked at again: somebody may have undone a change.
      const { name, checkpoint } = kind === 'quiet' ? await volume.requireFinished() : await volume.requireWhole()
      const capture = await captureTree(volume.captureParts(name), kind, checkpoint?.hash ?? null, signal)
      // What others may read from now on is the tree at rest.
      if (kind === 'quiet') {
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
        if (codeOf(error) === 'CHANGES_MISSED') await this.#distrust(volume, name, error as Error)
        throw error
      }
    })
  }

  spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal): Promise<void> {
    return this.#ofHeld(id, async (volume, { name, checkpoint }) => {
      signal.throwIfAborted()
      await volume.spool(name).freeze(kind, checkpoint, signal)
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
    return await this.#volume(id).writer(name, create, (look) => this.#turns.run(id, look))
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      const copy = await requireRecord(volume.layout)
      await this.#requireUnmounted(id)
      // What a holder wrote since its last checkpoint is nowhere else (promise 7).
      if (copy.held !== null) throw inUse(copy.name, 'held')
      volume.forgetChanges()
      await volume.spool(copy.name).drop()
      await applyStaged(volume.applyParts(copy.name), checkpoint)
    })
  }

  verify(id: string, signal: AbortSignal): Promise<Verification> {
    return this.#turns.scrub(id, async (stop) => {
      const volume = this.#volume(id)
      const copy = await volume.requireFinished()
      if (copy.held !== null) throw inUse(copy.name, 'held')
      await this.#requireUnmounted(id)
      const { layout } = volume
      const note = (damaged: readonly string[] | null) => volume.noteDamaged(damaged)
      const both = AbortSignal.any([signal, stop])
      const found = await scrub({ layout, volume: copy.name, copy, pool: this.#shared.pool, note, signal: both })
      // The tracker tells of writes. What a disk has lost nobody wrote: the next look has to read it.
      if (found.damagedCount > 0) volume.forgetChanges()
      return found
    })
  }

  async recover(): Promise<void> {
    await this.#shared.records.removeUnborn()
    await this.#mounting.recover()
    for (const copy of (await this.copies()).copies) {
      try {
        const free = () => this.#requireUnmounted(copy.id)
        await this.#turns.run(copy.id, () => recoverVolume(this.#volume(copy.id), copy, free, this.#options.log))
      } catch (error) {
        // One damaged copy must not keep the others from starting; it stays `applying` and is not mounted.
        this.#options.log.error(
          { err: error, volume: copy.name, id: copy.id },
          'what a crash has cut off cannot be finished',
        )
      }
    }
  }

  mount(id: string): Promise<string> {
    return this.#turns.run(id, async () => {
      const volume = this.#volume(id)
      const { name } = await volume.requireWhole()
      const { directory, data } = volume.layout
      return await orDiskFull(directory, name, () => this.#mounting.mount(id, data))
    })
  }

  async unmount(id: string): Promise<void> {
    await this.#mounting.unmount(id, this.#layout(id).data)
  }

  mountpoint(id: string): string {
    return this.#mounting.mountpoint(this.#layout(id).id)
  }

  mounted(): Promise<Set<string>> {
    return this.#mounting.mounted()
  }

  trash(id: string): Promise<void> {
    return this.#turns.run(id, async () => {
      const { directory } = await this.#closed(id)
      await moveToTrash(directory, id, trashDirectory(this.#options.stateDir), new Date())
    })
  }

  setAside(id: string): Promise<string> {
    return this.#turns.run(id, async () => {
      const { directory } = await this.#closed(id)
      const record = await requireRecord(this.#layout(id))
      const aside = asideDirectory(this.#options.stateDir)
      return join(basename(aside), await moveAside(directory, record, aside, new Date()))
    })
  }

  async removed(): Promise<RemovedCopy[]> {
    const { stateDir, trashRetentionMs } = this.#options
    const until = await trashedUntil(trashDirectory(stateDir), trashRetentionMs, bootTimeMs(), new Date())
    const trashed = await removedCopies(trashDirectory(stateDir), until, this.#removed.trash)
    return [...trashed, ...(await removedCopies(asideDirectory(stateDir), null, this.#removed.aside))]
  }

  emptyTrash(elapsedMs: number): Promise<string[]> {
    const { stateDir, trashRetentionMs } = this.#options
    return emptyTrash(trashDirectory(stateDir), trashRetentionMs, elapsedMs)
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

  async #distrust(volume: OpenVolume, name: string, error: Error): Promise<void> {
    const others = (await this.copies()).copies.filter(({ id }) => id !== volume.layout.id)
    const forget = (id: string, name: string) => this.#turns.run(id, () => this.#volume(id).spool(name).distrust())
    const { log } = this.#options
    await distrust({ tracking: this.#shared.tracking, spool: volume.spool(name), others, forget, log }, error)
  }

  /** Nothing of the process keeps the copy's directory in use any more. Answers where it is. */
  async #closed(id: string): Promise<Layout> {
    await this.#requireUnmounted(id)
    const volume = this.#volume(id)
    volume.requireNoWriter()
    volume.forgetChanges()
    await volume.close()
    this.#volumes.delete(id)
    return volume.layout
  }

  /** Works with a volume that this host holds, in its turn. */
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
    if ((await this.#mounting.mounted()).has(id)) throw inUse(id, 'mounted')
  }
}
