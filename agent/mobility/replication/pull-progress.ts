import type { Clock } from '../../runtime/clock.ts'
import type { StageProgress } from '../../store/tree-contract.ts'

interface Report {
  readonly progress: StageProgress
  readonly atMs: number
}

/** Progress of one pull from one host. */
export class PullProgress {
  readonly #clock: Clock
  /** The first report that knew what has to come: what was here before does not count. */
  #first: Report | null = null
  #latest: Report | null = null
  #movedBytes: number | null = null

  constructor(clock: Clock) {
    this.#clock = clock
  }

  report(progress: StageProgress): void {
    // Until the trees are compared nobody knows how much there is.
    if (progress.bytesTotal === 0 && progress.filesTotal === 0) return
    this.#latest = { progress, atMs: this.#clock.elapsedMs() }
    this.#first ??= this.#latest
  }

  /** Sets what crossed the network, exactly; only a complete pull knows. */
  moved(bytes: number): void {
    this.#movedBytes = bytes
  }

  /** The newest report; null while nothing is known. */
  progress(): StageProgress | null {
    return this.#latest?.progress ?? null
  }

  /** What crossed the network; for a pull that was cut off, without what preceded its first report. */
  movedBytes(): number {
    return this.#movedBytes ?? this.#doneBytes()
  }

  /** Mean rate between the first and the newest report; 0 while it cannot be told. */
  bytesPerSecond(): number {
    const seconds = ((this.#latest?.atMs ?? 0) - (this.#first?.atMs ?? 0)) / 1000
    return seconds <= 0 ? 0 : this.#doneBytes() / seconds
  }

  #doneBytes(): number {
    // A file whose hash was wrong is taken back.
    return Math.max(0, (this.#latest?.progress.bytesDone ?? 0) - (this.#first?.progress.bytesDone ?? 0))
  }
}
