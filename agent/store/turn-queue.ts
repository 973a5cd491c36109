import { KeyedQueue } from '../runtime/keyed-queue.ts'
import { closing, wanted } from './errors.ts'

/** Does one thing after another with a tree and what is kept of it, by the copy's id. A scrub gives way to whatever else is wanted of the tree. */
export class Turns {
  readonly #lanes = new KeyedQueue()
  /** Scrubs that wait or run. */
  readonly #scrubs = new Map<string, AbortController>()

  run<T>(id: string, work: () => Promise<T>): Promise<T> {
    this.#scrubs.get(id)?.abort(wanted(id))
    return this.#lanes.run(id, work)
  }

  /** As `run`, but the signal that `work` gets is aborted with VOLUME_IN_USE as soon as the tree is wanted by anything else. */
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
    for (const stop of this.#scrubs.values()) stop.abort(closing())
  }
}
