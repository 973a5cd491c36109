import type { VolumeRecord } from '../model.ts'
import type { StageProgress, TreeWriter } from '../store/contract.ts'
import type { MoveView } from './contract.ts'
import type { Clock } from './parts.ts'

/** Progress of bringing one volume here: what is shown to people and told in a Mount's error. */
export class CopyJob {
  readonly volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>
  readonly done: Promise<void>
  /** Bytes the last finished pass moved. */
  lastPassBytes = 0
  lastError: Error | null = null
  readonly #clock: Clock
  readonly #startedAt: string
  readonly #startedMs: number
  readonly #stop = new AbortController()
  #resolve: () => void = () => undefined
  #wantedUntilMs: number
  #from = ''
  #movedBytes = 0
  #pass: { startedMs: number; startBytes: number | null; writer: { progress(): StageProgress } } | null = null
  #total: StageProgress = { bytesDone: 0, bytesTotal: 0 }
  #state: MoveView['state'] = 'running'
  #endedMs: number | null = null

  constructor(volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>, clock: Clock, wantedMs: number) {
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
    return this.#from !== ''
  }

  /** Why the job ended without the data; null while it runs and after success. */
  failure(): Error | null {
    return this.#endedMs === null ? null : this.lastError
  }

  stop(): void {
    this.#stop.abort()
  }

  wantFor(ms: number): void {
    this.#wantedUntilMs = Math.max(this.#wantedUntilMs, this.#clock.elapsedMs() + ms)
  }

  wanted(): boolean {
    return this.#clock.elapsedMs() < this.#wantedUntilMs
  }

  /** Begins a pass from one host; answers the writer with its bytes counted, those of a pass that fails later too. */
  startPass(from: string, writer: TreeWriter): TreeWriter {
    this.#from = from
    this.#state = 'running'
    this.#pass = { startedMs: this.#clock.elapsedMs(), startBytes: null, writer }
    this.lastPassBytes = 0
    return {
      begin: (manifest) => writer.begin(manifest),
      write: (index, offset, data) => {
        this.lastPassBytes += data.length
        this.#movedBytes += data.length
        return writer.write(index, offset, data)
      },
      endFile: (index) => writer.endFile(index),
      progress: () => writer.progress(),
      [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
    }
  }

  endPass(): void {
    this.#total = this.#pass?.writer.progress() ?? this.#total
    this.#pass = null
  }

  setWaiting(): void {
    this.#state = 'waiting'
  }

  end(error: Error | null): void {
    this.#state = error === null ? 'done' : 'failed'
    this.lastError = error
    this.#endedMs = this.#clock.elapsedMs()
    this.#resolve()
  }

  /** As the API shows it. After the end `bytesDone` is what crossed the network in all passes. */
  view(to: string): MoveView {
    const nowMs = this.#clock.elapsedMs()
    const progress = this.#pass?.writer.progress() ?? this.#total
    const rate = this.#rate(progress, nowMs)
    const left = progress.bytesTotal - progress.bytesDone
    return {
      volume: this.name,
      id: this.id,
      from: this.#from,
      to,
      startedAt: this.#startedAt,
      bytesDone: this.#endedMs === null ? progress.bytesDone : this.#movedBytes,
      bytesTotal: this.#endedMs === null ? progress.bytesTotal : this.#movedBytes,
      bytesPerSecond: Math.round(rate),
      secondsLeft: this.#pass === null || rate <= 0 ? null : Math.ceil(left / rate),
      state: this.#state,
      error: this.lastError?.message ?? null,
      seconds: ((this.#endedMs ?? nowMs) - this.#startedMs) / 1000,
    }
  }

  /** Mean rate of the running pass: what was staged before it does not count. */
  #rate(progress: StageProgress, nowMs: number): number {
    if (this.#pass === null || progress.bytesTotal === 0) return 0
    this.#pass.startBytes ??= progress.bytesDone
    const seconds = (nowMs - this.#pass.startedMs) / 1000
    return seconds <= 0 ? 0 : (progress.bytesDone - this.#pass.startBytes) / seconds
  }
}
