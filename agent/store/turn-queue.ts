import { KeyedQueue } from '../runtime/keyed-queue.ts'
import { agentStops, scrubStopped } from './errors.ts'

/**
 * Runs one job after another on a tree and its metadata, by the copy's id.
 * A scrub gives way to any other job on its tree.
 */
export class TurnQueue {
  readonly #lanes = new KeyedQueue()
  /** Scrubs that wait or run, by the copy's id. */
  readonly #scrubs = new Map<string, AbortController>()

  run<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#scrubs.get(id)?.abort(scrubStopped(id))
    return this.#lanes.run(id, work)
  }

  /** As `run`, but aborts the signal of `work` with VOLUME_IN_USE when another job for the tree arrives. */
  scrub<T>(id: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const stop = new AbortController()
    const running = this.run(id, () => work(stop.signal))
    this.#scrubs.set(id, stop)
    const forget = () => {
      if (this.#scrubs.get(id) === stop) this.#scrubs.delete(id)
    }
    return running.finally(forget)
  }

  /** Stops the scrubs. Everything else ends by itself. */
  close(): void {
    for (const stop of this.#scrubs.values()) stop.abort(agentStops())
  }
}
