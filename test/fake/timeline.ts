/** Something that will happen. */
export class TimelineEvent {
  readonly atMs: number
  readonly order: number
  run: (() => void) | null
  /** It wakes nothing that waits for a promise: promises need not be drained after it. */
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
  readonly #heap: TimelineEvent[] = []
  #order = 0

  after(ms: number, run: () => void, quiet = false): TimelineEvent {
    const event = new TimelineEvent(this.nowMs + Math.max(0, ms), this.#order++, run, quiet)
    this.#push(event)
    return event
  }

  /**
   * Lets time pass until `endMs`, event by event. After each one everything in memory that it woke runs to its end:
   * nothing real is ever awaited, so promises are all that is under way. `afterEach` returns false to stop.
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

  /** Runs the next event up to `endMs`, and nothing that it wakes; false: there is none, and it is `endMs` now. */
  runNext(endMs: number): boolean {
    const event = this.#next(endMs)
    if (event === null) this.nowMs = endMs
    else this.#start(event)
    return event !== null
  }

  #runNow(endMs: number, afterEach: () => boolean): void {
    for (let event = this.#next(endMs); event !== null; event = this.#next(endMs)) {
      this.#start(event)
      if (!event.quiet) drainPromises()
      if (!afterEach()) return
    }
    this.nowMs = endMs
  }

  #start({ atMs, run }: TimelineEvent): void {
    this.nowMs = atMs
    this.steps++
    run?.()
  }

  /** Takes the next event that was not cancelled; null: there is none up to `endMs`. */
  #next(endMs: number): TimelineEvent | null {
    for (let event = this.#heap[0]; event !== undefined && event.atMs <= endMs; event = this.#heap[0]) {
      this.#pop()
      if (event.run !== null) return event
    }
    return null
  }

  #push(event: TimelineEvent): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!earlier(event, heap[parent] as TimelineEvent)) break
      heap[at] = heap[parent] as TimelineEvent
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as TimelineEvent
    const size = heap.length
    if (size === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= size) break
      if (child + 1 < size && earlier(heap[child + 1] as TimelineEvent, heap[child] as TimelineEvent)) child++
      if (!earlier(heap[child] as TimelineEvent, last)) break
      heap[at] = heap[child] as TimelineEvent
      at = child
    }
    heap[at] = last
  }
}

function earlier(a: TimelineEvent, b: TimelineEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/**
 * Runs all callbacks of settled promises, and what they settle in their turn: what Node does between two callbacks of
 * the event loop. It has no documented name (lib/internal/process/task_queues.js). A turn of the event loop for each
 * event would take as long as everything else together.
 */
const drainPromises: () => void = Reflect.get(process, '_tickCallback')
