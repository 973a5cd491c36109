import { setImmediate as nextTurn } from 'node:timers/promises'

/** A fifth of the 50 ms for which the event loop may be blocked at most. */
const SLICE_MS = 10

/** Keeps loops of short synchronous steps from blocking the event loop: `if (pace.due()) await pace.rest()`. */
export class YieldLoop {
  #sliceStart = performance.now()

  due(): boolean {
    return performance.now() - this.#sliceStart > SLICE_MS
  }

  async rest(): Promise<void> {
    await nextTurn()
    this.#sliceStart = performance.now()
  }
}
