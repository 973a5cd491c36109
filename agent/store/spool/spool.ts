import { codeOf } from '../../model/errors.ts'
import type { Checkpoint } from '../../model/model.ts'
import type { BufferPool } from '../../runtime/buffer-pool.ts'
import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Capture, LocalCopy, SpoolRound } from '../contract.ts'
import { orDiskFull } from '../disk/free-space.ts'
import { removeIfThere } from '../inode/removal.ts'
import { dropSeen, loadSnapshot } from '../snapshot/saved-snapshot.ts'
import type { TreeReader } from '../tree-contract.ts'
import { CheckpointBuilder, type SpoolParts } from './checkpoint-builder.ts'
import { adoptSpool, loadIndex, makingDirectory, placeSpool, spoolDirectory } from './commit.ts'
import { notCaptured, notFrozen } from './errors.ts'
import type { SpoolIndex } from './spool-index.ts'
import { openSpoolReader } from './spool-reader.ts'
import { dataPath } from './spool-writer.ts'

export interface SpoolOptions extends SpoolParts {
  readonly memory: BufferPool
  /** Syncs the file system of the tree; answers T, see capture/tick.ts. */
  readonly sync: () => Promise<bigint>
  /** Changes the copy's record, durably. */
  readonly update: (change: Partial<Omit<LocalCopy, 'id'>>) => Promise<unknown>
}

/**
 * What lies in `<volume>/spool/`, of a volume that is held: for the newest checkpoint every block of a large file and every small file by
 * which it differs from the checkpoint before, so that other hosts get that moment's bytes while the tree moves on.
 *
 * - `next/`: the spool in the making, see making.ts.
 * - `<hash>/`: the spool of the checkpoint with that hash: `data` (contents, one after the other), `index` (which content lies where,
 *   by its hash), and from when it is put there until it was adopted the snapshot that is to be the copy's `last`.
 *
 * The record alone says which checkpoint counts: the change of its `checkpoint` is the commit. What a crash leaves besides is finished or
 * removed by `recover`. Contents are found by their hash, and whoever gets them checks it: a spool may lack something, it cannot be wrong.
 */
export class Spool {
  readonly #options: SpoolOptions
  /** Opening a reader and replacing what it reads do not mix. */
  readonly #lane = new KeyedQueue()
  #rounds: CheckpointBuilder | null = null
  /** What was read from the index of the newest spool. */
  #index: { readonly hash: string; readonly index: SpoolIndex } | null = null

  constructor(options: SpoolOptions) {
    this.#options = options
  }

  /** See Store.spoolRound. `checkpoint` is the one of the copy's record. */
  round(checkpoint: Checkpoint | null, signal: AbortSignal): Promise<SpoolRound> {
    return this.#working(checkpoint, async (rounds) => {
      const { scan, bytesSpooled, scanned } = await rounds.live(this.#options.sync, signal)
      this.#options.faultPoint('spooled')
      const changed = scan.manifest.hash !== checkpoint?.hash
      return { changed, bytesRead: scan.bytesRead, bytesSpooled, scanned }
    })
  }

  /** See Store.spoolFreeze. `checkpoint` is the one of the copy's record. */
  freeze(kind: 'quiet' | 'live', checkpoint: Checkpoint | null, signal: AbortSignal): Promise<void> {
    return this.#working(checkpoint, async (rounds) => {
      await rounds.freeze(kind, this.#options.sync, signal)
      this.#options.faultPoint('frozen')
    })
  }

  /** See Store.spoolLast. */
  last(signal: AbortSignal): Promise<Capture> {
    return this.#guarded(async () => {
      if (this.#rounds === null) throw notFrozen(this.#options.volume)
      const { capture } = await this.#rounds.last(signal)
      this.#options.faultPoint('captured')
      return capture
    })
  }

  /** See Store.spoolThaw. */
  async thaw(): Promise<void> {
    await this.#rounds?.thaw()
  }

  /** See Store.spoolCommit. `record` is the copy's. */
  async commit(checkpoint: Checkpoint, record: LocalCopy): Promise<void> {
    const { volume } = this.#options
    const captured = this.#rounds?.captured?.capture.hash
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

  /** After a crash: finishes a commit that had counted, removes what had not. */
  async recover(record: LocalCopy): Promise<void> {
    const { layout, faultPoint } = this.#options
    await removeIfThere(makingDirectory(layout))
    if (record.checkpoint !== null) await adoptSpool(layout, record.checkpoint.hash, faultPoint)
    if (record.held === null || record.checkpoint === null) await this.drop()
  }

  /** Removes the spool: the volume is at rest, or its tree is about to change. Readers that are open go on. Safe to repeat. */
  drop(): Promise<void> {
    return this.#lane.run('', async () => {
      await this.close()
      this.#index = null
      await removeIfThere(this.#options.layout.spool)
    })
  }

  /** What was seen of the tree counts no more: all of it is read at the next look. Durable on return. */
  distrust(): Promise<void> {
    return this.#lane.run('', async () => {
      await this.close()
      this.#options.changes.forget()
      await dropSeen(this.#options.layout.directory)
    })
  }

  /** Gives back what is held open; what was not committed is lost. */
  async close(): Promise<void> {
    const rounds = this.#rounds
    this.#rounds = null
    await rounds?.[Symbol.asyncDispose]()
  }

  /** Nothing differs, or the commit is repeated. What was seen of the tree is kept: nothing of it need be read again. */
  async #commitSame(checkpoint: Checkpoint): Promise<void> {
    const { layout, update, faultPoint, changes } = this.#options
    const captured = this.#rounds?.captured ?? null
    await this.#lane.run('', async () => {
      await update({ checkpoint, epochSeen: checkpoint.epoch })
      await adoptSpool(layout, checkpoint.hash, faultPoint)
    })
    if (captured !== null && captured.capture.hash === checkpoint.hash) changes.knowLast(captured.tree, captured.mark)
  }

  async #commitNew(checkpoint: Checkpoint): Promise<void> {
    const { layout, update, faultPoint, changes } = this.#options
    const rounds = this.#rounds
    const captured = rounds?.captured ?? null
    if (rounds === null || captured === null) throw new TypeError('nothing was captured')
    await placeSpool(layout, rounds, faultPoint)
    await this.#lane.run('', async () => {
      await update({ checkpoint, epochSeen: checkpoint.epoch })
      await this.close()
      faultPoint('spool-recorded')
      this.#index = { hash: checkpoint.hash, index: rounds.making.index }
      await adoptSpool(layout, checkpoint.hash, faultPoint)
    })
    changes.knowLast(captured.tree, captured.mark)
    changes.watch(captured.tree)
  }

  async #working<T>(checkpoint: Checkpoint | null, work: (rounds: CheckpointBuilder) => Promise<T>): Promise<T> {
    const { layout, volume } = this.#options
    const from = checkpoint?.hash ?? null
    return await this.#guarded(async () => {
      // A commit that failed on its way: what it has put in its place is no place to go on from. Nor is another
      // checkpoint.
      if (this.#rounds !== null && (this.#rounds.placed || this.#rounds.from !== from)) await this.close()
      if (this.#rounds === null) {
        await removeIfThere(makingDirectory(layout))
        const begin = () => CheckpointBuilder.begin(this.#options, makingDirectory(layout), from)
        this.#rounds = await orDiskFull(layout.directory, volume, begin)
      }
      return await work(this.#rounds)
    })
  }

  /** What a full disk keeps from being finished is given up at once: the containers need the room more. */
  async #guarded<T>(work: () => Promise<T>): Promise<T> {
    const { layout, volume } = this.#options
    try {
      return await orDiskFull(layout.directory, volume, work)
    } catch (error) {
      if (codeOf(error) === 'DISK_FULL') {
        await this.close()
        await removeIfThere(makingDirectory(layout))
      }
      throw error
    }
  }
}
