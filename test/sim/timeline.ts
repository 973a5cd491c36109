/** Something that will happen. */
export class Event {
  readonly atMs: number
  readonly order: number
  run: (() => void) | null
  /** Nothing that waits for a promise is woken by it: no turn of the event loop is needed after it. */
  readonly quiet: boolean

  constructor(atMs: number, order: number, run: () => void, quiet: boolean) {
    this.atMs = atMs
    this.order = order
    this.run = run
    this.quiet = quiet
  }

  cancel(): void {
    this.run = null
  }
}

/** Virtual time: events in the order of their time, and of their making where that is the same. */
export class Timeline {
  nowMs = 0
  /** Events that ran so far. */
  steps = 0
  readonly #heap: Event[] = []
  #order = 0

  after(ms: number, run: () => void, quiet = false): Event {
    const event = new Event(this.nowMs + Math.max(0, ms), this.#order++, run, quiet)
    this.#push(event)
    return event
  }

  /**
   * Lets time pass until `endMs`, event by event. After each one everything in memory that it woke runs to its end: nothing real is ever awaited, so all that is
   * under way are promises. `afterEach` answers false to stop.
   */
  run(endMs: number, afterEach: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      // Promises are drained from the bottom of the event loop's stack only.
      setImmediate(() => {
        try {
          this.#runNow(endMs, afterEach)
          resolve()
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }

  #runNow(endMs: number, afterEach: () => boolean): void {
    for (let event = this.#heap[0]; event !== undefined && event.atMs <= endMs; event = this.#heap[0]) {
      this.#pop()
      if (event.run === null) continue
      this.nowMs = event.atMs
      this.steps++
      event.run()
      if (!event.quiet) drainPromises()
      if (!afterEach()) return
    }
    this.nowMs = endMs
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!earlier(event, heap[parent] as Event)) break
      heap[at] = heap[parent] as Event
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    const size = heap.length
    if (size === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= size) break
      if (child + 1 < size && earlier(heap[child + 1] as Event, heap[child] as Event)) child++
      if (!earlier(heap[child] as Event, last)) break
      heap[at] = heap[child] as Event
      at = child
    }
    heap[at] = last
  }
}

function earlier(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/**
 * Runs all callbacks of settled promises, and what they settle in their turn. This is what Node does between two callbacks of the event loop; it has no
 * documented name (lib/internal/process/task_queues.js). A turn of the event loop for each event would take as long as everything else together.
 */
const { _tickCallback: drainPromises } = process as unknown as { _tickCallback: () => void }
