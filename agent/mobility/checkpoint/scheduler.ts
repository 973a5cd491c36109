import type { CoveredCheckpoint, Trouble, VolumeOptions } from '../../model/model.ts'
import { checkpointTargetMs } from '../../model/volume-options.ts'
import { KeyedQueue } from '../../runtime/keyed-queue.ts'
import type { Context } from '../context.ts'
import type { CheckpointScheduler, CopyProgress } from '../copy-contract.ts'
import type { CheckpointView } from '../volume-view.ts'
import { Checkpointer } from './checkpointer.ts'
import { Coverage } from './coverage.ts'
import { CheckpointCycle } from './cycle.ts'
import { fairIntervals } from './demand.ts'
import { HostSink } from './host-sink.ts'
import { Schedule } from './schedule.ts'

/** How often schedules are checked: a comparison per held volume. */
const TICK_MS = 250
/** The heartbeat carries no more: it is written every second. */
const HEARTBEAT_MOST_VOLUMES = 50

type SchedulerContext = Pick<
  Context,
  | 'dependencies'
  | 'confirmed'
  | 'releasing'
  | 'hosts'
  | 'lease'
  | 'guardedVolumes'
  | 'containerUses'
  | 'liveCaptures'
  | 'givenSeqs'
>

/** A hold that gets checkpoints. */
interface Held {
  readonly incarnation: string
  readonly options: VolumeOptions
  readonly schedule: Schedule
  readonly coverage: Coverage
  readonly hostSink: HostSink
  readonly cycle: CheckpointCycle
}

/** Takes checkpoints of the volumes that this host holds while containers use them. Volumes share the time fairly. */
export class FairCheckpointScheduler implements CheckpointScheduler {
  readonly #context: SchedulerContext
  /** By volume id. */
  readonly #held = new Map<string, Held>()
  /** Incarnations of holds whose options want no checkpoints, by volume id. */
  readonly #off = new Map<string, string>()
  readonly #pauses = new KeyedQueue()

  constructor(context: SchedulerContext) {
    this.#context = context
  }

  /** Works until the agent stops. On return no container is paused for a checkpoint. Never rejects. */
  async run(): Promise<void> {
    const { clock, signal, log } = this.#context.dependencies
    while (!signal.aborted) {
      try {
        await this.#tick()
      } catch (error) {
        log.error({ err: error }, 'checkpoint scheduler failed: retrying')
      }
      await clock.sleep(TICK_MS, signal)
    }
    await Promise.all(Array.from(this.#held.values(), ({ cycle }) => cycle.running))
  }

  async stop(id: string): Promise<void> {
    await this.#held.get(id)?.cycle.stop()
  }

  view(id: string, options: VolumeOptions): CheckpointView {
    const held = this.#held.get(id)
    if (held !== undefined) return held.cycle.view(held.options)
    const state = options.checkpointMs === null ? 'off' : 'waiting'
    const intervalMs = checkpointTargetMs(options, false) ?? 0
    return { state, ageSeconds: null, pauseMs: null, intervalMs, error: null, failures: 0, scanned: null }
  }

  progress(id: string, host: string): CopyProgress | null {
    return this.#held.get(id)?.hostSink.progress(host) ?? null
  }

  late(): Readonly<Record<string, Trouble>> {
    const found = [...this.#held].flatMap(([id, { cycle }]) =>
      cycle.trouble === null ? [] : [[id, cycle.trouble] as const],
    )
    const oldest = found.sort(([, a], [, b]) => Date.parse(a.since) - Date.parse(b.since))
    return Object.fromEntries(oldest.slice(0, HEARTBEAT_MOST_VOLUMES))
  }

  trouble(id: string): Trouble | null {
    return this.#held.get(id)?.cycle.trouble ?? null
  }

  covered(id: string): CoveredCheckpoint | null {
    const { clock } = this.#context.dependencies
    const covered = this.#held.get(id)?.coverage.newest ?? null
    if (covered === null) return null
    const at = new Date(clock.now().getTime() - (clock.elapsedMs() - covered.atMs)).toISOString()
    return { epoch: covered.epoch, seq: covered.seq, hash: covered.hash, at }
  }

  async #tick(): Promise<void> {
    await this.#dropEnded()
    for (const id of this.#off.keys()) if (!this.#context.confirmed.has(id)) this.#off.delete(id)
    for (const [id, { incarnation }] of this.#context.confirmed) {
      if (!this.#held.has(id) && this.#off.get(id) !== incarnation) await this.#add(id)
    }
    const demands = Array.from(this.#held.values(), ({ schedule }) => schedule.demand)
    const intervals = fairIntervals(demands, this.#context.dependencies.checkpointShare)
    for (const [id, held] of this.#held) {
      held.schedule.setInterval(intervals.get(id) ?? held.schedule.demand.targetMs)
      if (held.cycle.running === null && held.schedule.isDue && this.#mayBegin(id, held)) held.cycle.begin()
    }
  }

  /** Stops the checkpoints of holds that are no longer confirmed, and forgets those that the disk says have ended. */
  async #dropEnded(): Promise<void> {
    for (const [id, { incarnation, cycle }] of this.#held) {
      if (this.#context.confirmed.get(id)?.incarnation === incarnation) continue
      if (cycle.running !== null) {
        void cycle.stop()
        continue
      }
      const local = await this.#context.dependencies.store.copy(id)
      if (local?.held?.incarnation !== incarnation) this.#held.delete(id)
    }
  }

  /** Adds a confirmed hold, if its options want checkpoints. */
  async #add(id: string): Promise<void> {
    const { dependencies, confirmed, hosts } = this.#context
    const local = await dependencies.store.copy(id)
    const hold = confirmed.get(id)
    if (local === null || hold === undefined || local.held?.incarnation !== hold.incarnation) return
    const { options, checkpoint, held } = local
    if (options.checkpointMs === null) {
      this.#off.set(id, hold.incarnation)
      return
    }
    const checkpointed = { id, name: hold.name, epoch: held.epoch, incarnation: hold.incarnation }
    const schedule = new Schedule(id, options, dependencies.clock)
    const coverage = new Coverage(dependencies.clock, hosts, checkpoint)
    const hostSink = new HostSink(this.#context, checkpointed, coverage)
    const checkpointer = new Checkpointer(this.#context, checkpointed, schedule, coverage, this.#pauses)
    const objects = { checkpointer, schedule, coverage, sinks: [hostSink] }
    const cycle = new CheckpointCycle(this.#context, checkpointed, objects)
    this.#held.set(id, { incarnation: hold.incarnation, options, schedule, coverage, hostSink, cycle })
  }

  #mayBegin(id: string, { incarnation }: Held): boolean {
    const { confirmed, releasing } = this.#context
    return confirmed.get(id)?.incarnation === incarnation && !releasing.has(id)
  }
}
