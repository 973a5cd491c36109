import { Counter, Histogram, type Registry } from 'prom-client'
import type { CheckpointResult, Tally } from '../mobility/dependencies.ts'

const RESULTS: readonly CheckpointResult[] = ['taken', 'unchanged', 'over_budget', 'failed', 'missed']
/**
 * Buckets of pauses: an idle container takes about 20 ms, the default budget is half a second, the largest a minute.
 */
const PAUSE_BUCKETS_SECONDS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 60]

/** Counters and histograms of what happened on this host since its agent started. */
export class Counts implements Tally {
  readonly #checkpoints: Counter
  readonly #pauses: Histogram
  readonly #seizures: Counter
  readonly #moved: Counter
  readonly #known = new Set<string>()

  constructor(registry: Registry) {
    const registers = [registry]
    this.#checkpoints = new Counter({
      name: 'wherry_checkpoints_total',
      help: 'Attempts to take a checkpoint of a volume in use on this host, by result.',
      labelNames: ['volume', 'result'],
      registers,
    })
    this.#pauses = new Histogram({
      name: 'wherry_checkpoint_pause_seconds',
      help: 'How long containers were frozen for a checkpoint, whether it was taken or not.',
      labelNames: ['volume'],
      buckets: PAUSE_BUCKETS_SECONDS,
      registers,
    })
    this.#seizures = new Counter({
      name: 'wherry_seizures_total',
      help: 'How often this host took a volume over.',
      labelNames: ['volume'],
      registers,
    })
    this.#moved = new Counter({
      name: 'wherry_moved_bytes_total',
      help: 'Data of copies that crossed the network to this host.',
      labelNames: ['volume'],
      registers,
    })
  }

  checkpoint(volume: string, result: CheckpointResult): void {
    this.#checkpoints.inc({ volume, result })
  }

  paused(volume: string, ms: number): void {
    this.#pauses.observe({ volume }, ms / 1000)
  }

  takenOver(volume: string): void {
    this.#seizures.inc({ volume })
  }

  moved(volume: string, bytes: number): void {
    this.#moved.inc({ volume }, bytes)
  }

  /**
   * Forgets removed volumes and starts the counters of new ones at zero.
   * Prometheus sees no increase in a counter that first appears with the value 1.
   */
  keep(volumes: readonly string[]): void {
    const now = new Set(volumes)
    for (const volume of this.#known.difference(now)) this.#forget(volume)
    for (const volume of now.difference(this.#known)) this.#begin(volume)
  }

  #begin(volume: string): void {
    this.#known.add(volume)
    this.#seizures.inc({ volume }, 0)
    this.#moved.inc({ volume }, 0)
  }

  #forget(volume: string): void {
    this.#known.delete(volume)
    for (const result of RESULTS) this.#checkpoints.remove({ volume, result })
    for (const metric of [this.#pauses, this.#seizures, this.#moved]) metric.remove({ volume })
  }
}
