import type { VolumeRecord } from '../../model/model.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { StageProgress } from '../../store/tree-contract.ts'
import type { RunningCopy } from '../copy-contract.ts'
import { isSameTree, orderOf } from '../record/checkpoint-order.ts'
import type { MoveView } from '../volume-view.ts'
import type { CopyGoal } from './copy-goal.ts'
import { removedMeanwhile } from './errors.ts'
import { PullProgress } from './pull-progress.ts'

/** A job that brings one volume here, with the progress that operators and a Mount's error see. */
export class CopyJob implements RunningCopy {
  readonly volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>
  readonly done: Promise<void>
  /** Bytes that the last finished pull moved. */
  lastPassBytes = 0
  lastError: Error | null = null
  /** Why the last goal was not reached; null: it was, or there was none. */
  missed: Error | null = null
  /** The volume's newest checkpoint is wanted, not only the goals. */
  follows = false
  /** Only checkpoints of a volume in use elsewhere were offered: that is daily work, and no move. */
  onlyOffered = true
  #goals: readonly CopyGoal[] = []
  readonly #clock: Clock
  readonly #startedAt: string
  readonly #startedMs: number
  readonly #stop = new AbortController()
  #resolve: () => void = () => undefined
  #wantedUntilMs: number
  #from: { readonly host: string; readonly label: string } | null = null
  #movedBytes = 0
  #pass: PullProgress | null = null
  #reached: StageProgress = { bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 }
  #state: MoveView['state'] = 'running'
  #endedMs: number | null = null

  constructor(volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>, clock: Clock, wantedMs = 0) {
    this.volume = volume
    this.#clock = clock
    this.#startedAt = clock.now().toISOString()
    this.#startedMs = clock.elapsedMs()
    this.#wantedUntilMs = this.#startedMs + wantedMs
    this.done = new Promise((resolve) => {
      this.#resolve = resolve
    })
  }

  get id(): string {
    return this.volume.id
  }

  get name(): string {
    return this.volume.name
  }

  /** Aborts when the job is told to stop. */
  get stopped(): AbortSignal {
    return this.#stop.signal
  }

  /** True once a host was asked for data: a job that found nothing to do is no move. */
  get shown(): boolean {
    return this.#from !== null
  }

  get source(): string | null {
    return this.#from?.host ?? null
  }

  /** Why the job ended without the data; null while it runs and after success. */
  failure(): Error | null {
    return this.#endedMs === null ? null : this.lastError
  }

  stop(): void {
    this.#stop.abort(removedMeanwhile(this.name))
  }

  wantFor(ms: number): void {
    this.#wantedUntilMs = Math.max(this.#wantedUntilMs, this.#clock.elapsedMs() + ms)
  }

  isWanted(): boolean {
    return this.#clock.elapsedMs() < this.#wantedUntilMs
  }

  /** Adds a goal; returns the one that was there for the same checkpoint, if there was. */
  addGoal(newestGoal: CopyGoal): CopyGoal {
    const same = this.#goals.find(({ checkpoint }) => isSameTree(checkpoint, newestGoal.checkpoint))
    if (same === undefined) this.#goals = [...this.#goals, newestGoal]
    else same.join(newestGoal.sources, newestGoal.untilMs)
    return same ?? newestGoal
  }

  /** The newest checkpoint to bring here; undefined: there is none. */
  target(): CopyGoal | undefined {
    return this.#goals.reduce<CopyGoal | undefined>(
      (newest, other) =>
        newest !== undefined && orderOf(newest.checkpoint, other.checkpoint) === 'newer' ? newest : other,
      undefined,
    )
  }

  /** Settles a goal and all older ones: the copy is at it, or it cannot be reached (`error`). */
  settle(target: CopyGoal, error?: unknown): void {
    const settled = this.#goals.filter(({ checkpoint }) => {
      const order = orderOf(checkpoint, target.checkpoint)
      return order === 'older' || order === 'same'
    })
    this.#goals = this.#goals.filter((other) => !settled.includes(other))
    for (const other of settled) {
      if (error === undefined) other.reach()
      else other.miss(error)
    }
  }

  /** Begins a pull from one host (id and label); returns where its progress is reported. */
  startPass(host: string, label: string): PullProgress {
    this.#from = { host, label }
    this.#state = 'running'
    this.lastPassBytes = 0
    this.#pass = new PullProgress(this.#clock)
    return this.#pass
  }

  /** Ends the pull, successful or not: what it moved counts in any case. */
  endPass(): void {
    if (this.#pass === null) return
    this.#reached = this.#pass.progress() ?? this.#reached
    this.lastPassBytes = this.#pass.movedBytes()
    this.#movedBytes += this.lastPassBytes
    this.#pass = null
  }

  setWaiting(): void {
    this.#state = 'waiting'
  }

  end(error: Error | null): void {
    this.#state = error === null ? 'done' : 'failed'
    this.lastError = error
    this.#endedMs = this.#clock.elapsedMs()
    for (const target of this.#goals) target.miss(error ?? new Error('the copy has ended'))
    this.#goals = []
    this.#resolve()
  }

  /** As the API shows it. After the end `bytesDone` is what crossed the network in all pulls. */
  view(to: string): MoveView {
    const ended = this.#endedMs !== null
    const { bytesDone, bytesTotal, filesDone, filesTotal } = this.#pass?.progress() ?? this.#reached
    const rate = this.#pass?.bytesPerSecond() ?? 0
    return {
      volume: this.name,
      id: this.id,
      from: this.#from?.label ?? '',
      to,
      startedAt: this.#startedAt,
      bytesDone: ended ? this.#movedBytes : bytesDone,
      bytesTotal: ended ? this.#movedBytes : bytesTotal,
      filesDone,
      filesTotal,
      bytesPerSecond: Math.round(rate),
      secondsLeft: rate <= 0 ? null : Math.ceil((bytesTotal - bytesDone) / rate),
      state: this.#state,
      error: this.lastError?.message ?? null,
      seconds: ((this.#endedMs ?? this.#clock.elapsedMs()) - this.#startedMs) / 1000,
    }
  }
}
