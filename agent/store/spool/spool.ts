import { codeOf } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Capture, CaptureMode, LocalCopy, SpoolRound } from '../contract.ts'
import { orDiskFull } from '../disk/free-space.ts'
import { removeIfThere } from '../inode/removal.ts'
import { dropInodeStates, loadSnapshot } from '../snapshot/saved-snapshot.ts'
import type { TreeReader } from '../tree-contract.ts'
import { CheckpointBuilder, type SpoolParts } from './checkpoint-builder.ts'
import { adoptSpool, loadIndex, nextSpoolDirectory, placeSpool, spoolDirectory } from './commit.ts'
import { notCaptured, notFrozen } from './errors.ts'
import type { SpoolIndex } from './spool-index.ts'
import { openSpoolReader } from './spool-reader.ts'
import { dataPath } from './spool-writer.ts'

export interface SpoolOptions extends SpoolParts {
  readonly memory: BufferPool
  /** Syncs the file system of the tree; returns T, see scan/fs-clock.ts. */
  readonly sync: () => Promise<bigint>
  /** Changes the copy's record, durably. */
  readonly update: (change: Partial<Omit<LocalCopy, 'id'>>) => Promise<unknown>
}

/**
 * The spool of a held volume, in `<volume>/spool/`: what differs from the checkpoint before the newest one.
 * It has every such block of a large file and every such small file. Other hosts get that moment's bytes from it
 * while the tree changes.
 *
 * - `next/`: the spool being built, see spool-writer.ts.
 * - `<hash>/`: the spool of the checkpoint with that hash. `data` has the contents one after the other, `index`
 *   tells which content lies where, by its hash. Until it is adopted it also has the snapshot that becomes the
 *   copy's `last`.
 *
 * The record alone decides which checkpoint counts: the change of its `checkpoint` is the commit. `recover`
 * finishes or removes what else a crash leaves. Contents are found by their hash, and receivers check it: a spool
 * may lack something, but it cannot be wrong.
 */
export class Spool {
  readonly #options: SpoolOptions
  /** Keeps the opening of a reader apart from replacing what it reads. */
  readonly #lane = new KeyedQueue()
  #builder: CheckpointBuilder | null = null
  /** The index of the newest spool, once it was read. */
  #index: { readonly hash: string; readonly index: SpoolIndex } | null = null

  constructor(options: SpoolOptions) {
    this.#options = options
  }

  /** See Store.spoolRound. `checkpoint` is that of the copy's record. */
  async round(checkpoint: Checkpoint | null, signal: AbortSignal): Promise<SpoolRound> {
    if (this.#builder?.writer.isWornOut === true) await this.close()
    return await this.#withBuilder(checkpoint, async (builder) => {
      const { scan, bytesSpooled, scanned } = await builder.live(this.#options.sync, signal)
      this.#options.faultPoint('spooled')
      const changed = scan.manifest.hash !== checkpoint?.hash
      return { changed, bytesRead: scan.bytesRead, bytesSpooled, scanned }
    })
  }

  /** See Store.spoolFreeze. `checkpoint` is that of the copy's record. */
  freeze(mode: CaptureMode, checkpoint: Checkpoint | null, signal: AbortSignal): Promise<void> {
    return this.#withBuilder(checkpoint, async (builder) => {
      await builder.freeze(mode, this.#options.sync, signal)
      this.#options.faultPoint('frozen')
    })
  }

  /** See Store.spoolLast. */
  last(signal: AbortSignal): Promise<Capture> {
    return this.#guarded(async () => {
      if (this.#builder === null) throw notFrozen(this.#options.volume)
      const { capture } = await this.#builder.last(signal)
      this.#options.faultPoint('captured')
      return capture
    })
  }

  /** See Store.spoolThaw. */
  async thaw(): Promise<void> {
    await this.#builder?.thaw()
  }

  /** See Store.spoolCommit. `record` is the copy's. */
  async commit(checkpoint: Checkpoint, record: LocalCopy): Promise<void> {
    const { volume } = this.#options
    const captured = this.#builder?.captured?.capture.hash
    if (checkpoint.hash === record.checkpoint?.hash) await this.#commitSame(checkpoint)
    else if (captured === checkpoint.hash) await this.#guarded(() => this.#commitNew(checkpoint))
    else throw notCaptured(volume, checkpoint)
  }

  /** Opens the checkpoint of `record()` for reading; null when it is not here. */
  reader(record: () => Promise<LocalCopy>): Promise<TreeReader | null> {
    return this.#lane.run('', async () => {
      const { layout, volume, pool, memory } = this.#options
      const hash = (await record()).checkpoint?.hash
      const tree = hash === undefined ? null : await loadSnapshot(layout.directory, 'last')
      if (hash === undefined || tree?.manifest.hash !== hash) return null
      if (this.#index?.hash !== hash) this.#index = { hash, index: await loadIndex(layout, hash) }
      const { index } = this.#index
      const spool = index.count === 0 ? null : dataPath(spoolDirectory(layout, hash))
      return await openSpoolReader({ tree, data: layout.data, spool, index, volume, pool, memory })
    })
  }

  /** After a crash: finishes a commit that counted, and removes one that did not. */
  async recover(record: LocalCopy): Promise<void> {
    const { layout, faultPoint } = this.#options
    await removeIfThere(nextSpoolDirectory(layout))
    if (record.checkpoint !== null) await adoptSpool(layout, record.checkpoint.hash, faultPoint)
    if (record.held === null || record.checkpoint === null) await this.drop()
  }

  /**
   * Removes the spool: the volume is at rest, or its tree is about to change. May be repeated.
   * Open readers stay valid.
   */
  drop(): Promise<void> {
    return this.#lane.run('', async () => {
      await this.close()
      this.#index = null
      await removeIfThere(this.#options.layout.spool)
    })
  }

  /** Discards what was recorded of the tree's inodes: the next scan reads every file. Durable on return. */
  discardTracking(): Promise<void> {
    return this.#lane.run('', async () => {
      await this.close()
      this.#options.changes.forget()
      await dropInodeStates(this.#options.layout.directory)
    })
  }

  /** Closes what is open; what was not committed is lost. */
  async close(): Promise<void> {
    const builder = this.#builder
    this.#builder = null
    await builder?.[Symbol.asyncDispose]()
  }

  /**
   * Nothing differs, or the commit is repeated.
   * The scan of the tree stays valid: nothing need be read again.
   */
  async #commitSame(checkpoint: Checkpoint): Promise<void> {
    const { layout, update, faultPoint, changes } = this.#options
    const captured = this.#builder?.captured ?? null
    await this.#lane.run('', async () => {
      await update({ checkpoint, epochSeen: checkpoint.epoch })
      await adoptSpool(layout, checkpoint.hash, faultPoint)
    })
    if (captured !== null && captured.capture.hash === checkpoint.hash) changes.knowLast(captured.tree, captured.mark)
  }

  async #commitNew(checkpoint: Checkpoint): Promise<void> {
    const { layout, update, faultPoint, changes } = this.#options
    const builder = this.#builder
    const captured = builder?.captured ?? null
    if (builder === null || captured === null) throw new TypeError('nothing was captured')
    await placeSpool(layout, builder, faultPoint)
    await this.#lane.run('', async () => {
      await update({ checkpoint, epochSeen: checkpoint.epoch })
      await this.close()
      faultPoint('spool-recorded')
      this.#index = { hash: checkpoint.hash, index: builder.writer.index }
      await adoptSpool(layout, checkpoint.hash, faultPoint)
    })
    changes.knowLast(captured.tree, captured.mark)
    changes.watch(captured.tree)
  }

  async #withBuilder<T>(checkpoint: Checkpoint | null, work: (builder: CheckpointBuilder) => Promise<T>): Promise<T> {
    const { layout, volume } = this.#options
    const from = checkpoint?.hash ?? null
    return await this.#guarded(async () => {
      // A commit that failed halfway has moved its spool already: start again. The same for another checkpoint.
      if (this.#builder !== null && (this.#builder.placed || this.#builder.from !== from)) await this.close()
      if (this.#builder === null) {
        await removeIfThere(nextSpoolDirectory(layout))
        const begin = () => CheckpointBuilder.begin(this.#options, nextSpoolDirectory(layout), from)
        this.#builder = await orDiskFull(layout.directory, volume, begin)
      }
      return await work(this.#builder)
    })
  }

  /** Drops the spool being built when the disk is full: the containers need the space more. */
  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    const { layout, volume } = this.#options
    try {
      return await orDiskFull(layout.directory, volume, work)
    } catch (error) {
      if (codeOf(error) === 'DISK_FULL') {
        await this.close()
        await removeIfThere(nextSpoolDirectory(layout))
      }
      throw error
    }
  }
}
