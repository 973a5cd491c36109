import type { Checkpoint, CopyRecord, VolumeRecord } from '../../model/model.ts'
import type { Context } from '../context.ts'
import { hasCheckpoint, withReplies } from '../record/copies.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'
import type { CheckpointedHold } from './sink.ts'

/** Time for one attempt to write the record. The next checkpoint repeats what failed. */
const COMMIT_MS = 10_000

/** Checkpoints that hosts said they have, until they are in the volume's record. */
export class Acknowledgements {
  readonly #context: Pick<Context, 'dependencies'>
  readonly #hold: CheckpointedHold
  /** By host id. */
  readonly #pending = new Map<string, Checkpoint>()

  constructor(context: Pick<Context, 'dependencies'>, hold: CheckpointedHold) {
    this.#context = context
    this.#hold = hold
  }

  /** Whether a host is known to have the checkpoint, by the record or its own acknowledgement. */
  has(record: VolumeRecord, host: string, checkpoint: Checkpoint): boolean {
    return hasCheckpoint(record.copies[host], checkpoint) || this.#pending.get(host)?.hash === checkpoint.hash
  }

  /** Whether an acknowledgement of the host waits for `commit`. */
  isPending(host: string): boolean {
    return this.#pending.has(host)
  }

  /** Adds that a host has a checkpoint, unless the record says so already. */
  add(record: VolumeRecord, host: string, checkpoint: Checkpoint): void {
    if (!hasCheckpoint(record.copies[host], checkpoint)) this.#pending.set(host, checkpoint)
  }

  /** Writes the acknowledgements to the record. Rejects REGISTRY_UNAVAILABLE: they are kept. May be repeated. */
  async commit(): Promise<void> {
    if (this.#pending.size === 0) return
    const { self, clock } = this.#context.dependencies
    const written = new Map(this.#pending)
    const at = clock.now().toISOString()
    await this.#change((record) => withReplies(record, self.id, written, at))
    for (const [host, has] of written) if (this.#pending.get(host) === has) this.#pending.delete(host)
  }

  /**
   * Marks all copies of other hosts as behind until they have the next checkpoint: they may lack something.
   * Rejects REGISTRY_UNAVAILABLE. May be repeated.
   */
  async distrust(): Promise<void> {
    this.#pending.clear()
    const self = this.#context.dependencies.self.id
    await this.#change((record) => {
      const copies = Object.entries(record.copies).map(([host, copy]): [string, CopyRecord] => {
        const counts = host !== self && copy.state === 'current'
        return [host, counts ? { ...copy, state: 'behind' } : copy]
      })
      return { ...record, copies: Object.fromEntries(copies) }
    })
  }

  /** Changes the record while it says that this hold stands. */
  async #change(change: (record: VolumeRecord) => VolumeRecord): Promise<void> {
    const { dependencies } = this.#context
    const { id, name, epoch, incarnation } = this.#hold
    const changeHeld = (record: VolumeRecord | null) => {
      if (record === null || record.id !== id) return record
      if (record.epoch < epoch) return STALE_READ
      return record.holder?.incarnation === incarnation ? change(record) : record
    }
    const limit = AbortSignal.any([dependencies.signal, dependencies.clock.deadline(COMMIT_MS)])
    await changeVolume(dependencies, name, changeHeld, limit)
  }
}
