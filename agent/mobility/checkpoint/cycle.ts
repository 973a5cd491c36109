import { codeOf, WherryError } from '../../model/errors.ts'
import type { Checkpoint, Trouble, VolumeOptions, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import { sameTrouble, troubleOf } from '../trouble.ts'
import type { CheckpointView } from '../volume-view.ts'
import type { Checkpointer } from './checkpointer.ts'
import type { Coverage } from './coverage.ts'
import { otherHosts } from './host-sink.ts'
import type { Schedule } from './schedule.ts'
import type { CheckpointedHold, CheckpointSink } from './sink.ts'

/** What a cycle puts together. */
export interface CycleObjects {
  readonly checkpointer: Pick<Checkpointer, 'take' | 'pauseMs'>
  readonly schedule: Schedule
  readonly coverage: Coverage
  readonly sinks: readonly CheckpointSink[]
}

type CycleContext = Pick<Context, 'dependencies' | 'confirmed'>

/** The checkpoints of one hold: takes them one at a time, and hands each to the sinks. */
export class CheckpointCycle {
  readonly #context: CycleContext
  readonly #hold: CheckpointedHold
  readonly #objects: CycleObjects
  #stop = new AbortController()
  #running: Promise<void> | null = null
  #error: string | null = null
  #trouble: Trouble | null = null

  constructor(context: CycleContext, hold: CheckpointedHold, objects: CycleObjects) {
    this.#context = context
    this.#hold = hold
    this.#objects = objects
  }

  /** Resolves when the cycle that runs has ended; null: none runs. Never rejects. */
  get running(): Promise<void> | null {
    return this.#running
  }

  /** Why other hosts lack the newest checkpoint, as they are told; null: they have it, as far as is known. */
  get trouble(): Trouble | null {
    return this.#trouble
  }

  /** Starts a cycle. None may run. */
  begin(): void {
    this.#running = this.#run(this.#stop.signal).finally(() => {
      this.#running = null
    })
  }

  /** Ends what runs. On return its containers run, and nothing here touches the tree. May be repeated. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('checkpoints of the volume were stopped'))
    this.#stop = new AbortController()
    for (const sink of this.#objects.sinks) sink.stop()
    await this.#running
  }

  /** Returns what operators see. `options` are the volume's. */
  view(options: VolumeOptions): CheckpointView {
    const { schedule, coverage, checkpointer } = this.#objects
    const idle = options.consistency === 'live' ? 'fuzzy' : 'waiting'
    const covered = coverage.newest
    const ageMs = covered === null ? null : this.#context.dependencies.clock.elapsedMs() - covered.atMs
    return {
      state: this.#running === null ? idle : 'running',
      ageSeconds: ageMs === null ? null : Math.round(ageMs / 100) / 10,
      pauseMs: checkpointer.pauseMs,
      intervalMs: Math.round(schedule.intervalMs),
      error: this.#error,
      failures: schedule.failures,
      scanned: schedule.wholeFiles,
    }
  }

  async #run(stopped: AbortSignal): Promise<void> {
    const { dependencies } = this.#context
    const { schedule } = this.#objects
    const signal = AbortSignal.any([dependencies.signal, stopped])
    const startMs = dependencies.clock.elapsedMs()
    try {
      await this.#takeAndOffer(signal)
      schedule.succeeded()
    } catch (error) {
      if (signal.aborted) return
      schedule.failed(codeOf(error) === 'TREE_UNSUPPORTED')
      this.#error = error instanceof WherryError ? error.toLine() : String(error)
      this.#trouble = sameTrouble(this.#trouble, troubleOf(error, dependencies.clock.now()))
      const level = schedule.failures === 1 ? 'warn' : 'debug'
      dependencies.log[level]({ err: error, volume: this.#hold.name }, 'checkpoint failed: retrying')
    } finally {
      schedule.next(startMs)
    }
  }

  async #takeAndOffer(signal: AbortSignal): Promise<void> {
    const { sinks, schedule, coverage } = this.#objects
    const record = await this.#record(signal)
    coverage.keepOnly(record === null ? [] : otherHosts(record, this.#context.dependencies.self.id))
    if (record === null) return
    const open = sinks.filter((sink) => sink.isOpen(record))
    if (open.length === 0) return
    const checkpoint = await this.#takeComplete(signal)
    if (checkpoint === null) return
    const offered = { checkpoint, record, intervalMs: schedule.intervalMs }
    for (const sink of open) await sink.offer(offered, signal)
    this.#error = open.flatMap(({ failures }) => failures)[0] ?? null
    this.#trouble = open.flatMap(({ trouble }) => trouble ?? [])[0] ?? null
  }

  /** Takes a checkpoint. If changes were missed, copies may be incomplete until they have one of everything. */
  async #takeComplete(signal: AbortSignal): Promise<Checkpoint | null> {
    const { checkpointer, coverage, sinks } = this.#objects
    const { log } = this.#context.dependencies
    const volume = this.#hold.name
    try {
      return await checkpointer.take(signal)
    } catch (error) {
      if (codeOf(error) !== 'CHANGES_MISSED') throw error
      log.error({ err: error, volume }, 'changes missed: copies may be incomplete, reading everything again')
      coverage.keepOnly([])
      for (const sink of sinks) {
        await sink.distrust().catch((err: unknown) => log.error({ err, volume }, 'copies not marked as behind'))
      }
      return await checkpointer.take(signal)
    }
  }

  /**
   * Returns the record while it says that this hold stands, else null.
   * While the registry is away it is the last one that was read: an outage does not stop checkpoints.
   */
  async #record(signal: AbortSignal): Promise<VolumeRecord | null> {
    const { id, incarnation } = this.#hold
    const name = this.#context.confirmed.get(id)?.name
    if (name === undefined) return null
    const { entry } = await rejectOnAbort(this.#context.dependencies.cache.get(name), signal)
    return entry?.value.id === id && entry.value.holder?.incarnation === incarnation ? entry.value : null
  }
}
