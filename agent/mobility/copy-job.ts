import type { VolumeRecord } from '../model.ts'
import type { StageProgress } from '../store/exchange.ts'
import type { MoveView } from './contract.ts'
import { CopyPass } from './copy-pass.ts'
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
  #pass: CopyPass | null = null
  #reached: StageProgress = { bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 }
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

  /** Begins a pass from one host; answers where its progress is told. */
  startPass(from: string): CopyPass {
    this.#from = from
    this.#state = 'running'
    this.lastPassBytes = 0
    this.#pass = new CopyPass(this.#clock)
    return this.#pass
  }

  /** The pass is over, successful or not: what it moved counts in any case. */
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
    this.#resolve()
  }

  /** As the API shows it. After the end `bytesDone` is what crossed the network in all passes. */
  view(to: string): MoveView {
    const ended = this.#endedMs !== null
    const { bytesDone, bytesTotal, filesDone, filesTotal } = this.#pass?.progress() ?? this.#reached
    const rate = this.#pass?.bytesPerSecond() ?? 0
    return {
      volume: this.name,
      id: this.id,
      from: this.#from,
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
