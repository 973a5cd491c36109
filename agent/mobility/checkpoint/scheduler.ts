import type { CoveredCheckpoint, VolumeOptions } from '../../model/model.ts'
import { checkpointTargetMs } from '../../model/volume-options.ts'
import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Context } from '../context.ts'
import type { CheckpointView } from '../contract.ts'
import type { CheckpointScheduler, CopyProgress } from '../copy-contract.ts'
import { Checkpointer } from './checkpointer.ts'
import { fairIntervals } from './demand.ts'

/** How exactly times are kept; each look costs a comparison per held volume. */
const LOOK_MS = 250

/** Takes checkpoints of the volumes this host holds while containers use them, and brings them to the other hosts with copies. */
export class FairCheckpointScheduler implements CheckpointScheduler {
  readonly #core: Context
  /** By volume id. */
  readonly #held = new Map<string, Checkpointer>()
  /** Incarnations of holds whose options want no checkpoints, by volume id. */
  readonly #off = new Map<string, string>()
  readonly #lastRounds = new KeyedQueue()

  constructor(core: Context) {
    this.#core = core
  }

  /** Works until the agent stops; on return no container stands still for a checkpoint. Never rejects. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#core.dependencies
    while (!signal.aborted) {
      try {
        await this.#look()
      } catch (error) {
        log.error({ err: error }, 'could not look after the checkpoints of volumes in use')
      }
      await clock.sleep(LOOK_MS, signal)
    }
    await Promise.all([...this.#held.values()].map((held) => held.busy))
  }

  /**
   * Ends what is under way for a volume: a release or a fence is about to begin. On return its containers run again, unless something else stopped them,
   * and nothing of it touches the tree. Nothing new is begun while the volume is in `core.releasing` or not in `core.confirmed`: put it into the one, or
   * take it out of the other, before. Never rejects; safe to repeat.
   */
  async stop(id: string): Promise<void> {
    await this.#held.get(id)?.stop()
  }

  /** How it goes, for people. */
  view(id: string, options: VolumeOptions): CheckpointView {
    const known = this.#held.get(id)
    if (known !== undefined) return known.view()
    const state = options.checkpointMs === null ? 'off' : 'waiting'
    const intervalMs = checkpointTargetMs(options, false) ?? 0
    return { state, ageSeconds: null, pauseMs: null, intervalMs, error: null, failures: 0, scanned: null }
  }

  /** How another host gets on with the checkpoints of a volume; null: it is not in use here. */
  progress(id: string, host: string): CopyProgress | null {
    return this.#held.get(id)?.progress(host) ?? null
  }

  /**
   * Up to when nothing had been written to a volume in use that a checkpoint on another host does not have: later than that checkpoint's own time when
   * nothing has changed since. ISO 8601, by this host's clock. Null: not known.
   */
  covered(id: string): CoveredCheckpoint | null {
    const { clock } = this.#core.dependencies
    const known = this.#held.get(id)?.covered ?? null
    if (known === null) return null
    const at = new Date(clock.now().getTime() - (clock.elapsedMs() - known.atMs)).toISOString()
    return { epoch: known.epoch, seq: known.seq, hash: known.hash, at }
  }

  async #look(): Promise<void> {
    await this.#dropEnded()
    for (const id of this.#off.keys()) if (!this.#core.confirmed.has(id)) this.#off.delete(id)
    for (const [id, { incarnation }] of this.#core.confirmed) {
      if (!this.#held.has(id) && this.#off.get(id) !== incarnation) await this.#take(id)
    }
    const wishes = [...this.#held.values()].map(({ wish }) => wish)
    const intervals = fairIntervals(wishes, this.#core.dependencies.checkpointShare)
    for (const [id, held] of this.#held) {
      held.setInterval(intervals.get(id) ?? held.wish.targetMs)
      if (held.due && this.#mayBegin(id, held)) held.begin()
    }
  }

  /** A hold that is not confirmed any more gets no checkpoints; it is forgotten when the disk says that it is over. */
  async #dropEnded(): Promise<void> {
    for (const [id, held] of this.#held) {
      if (this.#core.confirmed.get(id)?.incarnation === held.incarnation) continue
      if (held.busy !== null) {
        void held.stop()
        continue
      }
      const local = await this.#core.dependencies.store.copy(id)
      if (local?.held?.incarnation !== held.incarnation) this.#held.delete(id)
    }
  }

  /** Begins to look after a hold, if its options want that. */
  async #take(id: string): Promise<void> {
    const local = await this.#core.dependencies.store.copy(id)
    const hold = this.#core.confirmed.get(id)
    if (local === null || hold === undefined || local.held?.incarnation !== hold.incarnation) return
    if (local.options.checkpointMs === null) {
      this.#off.set(id, hold.incarnation)
      return
    }
    const offered = { id, name: hold.name, epoch: local.held.epoch, incarnation: hold.incarnation }
    this.#held.set(id, new Checkpointer(this.#core, local, offered, this.#lastRounds))
  }

  #mayBegin(id: string, held: Checkpointer): boolean {
    const { confirmed, releasing } = this.#core
    return confirmed.get(id)?.incarnation === held.incarnation && !releasing.has(id)
  }
}
