/** What is the same again within this time is counted, not reported. */
const WINDOW_MS = 10 * 60_000

/** Events that differ are few; a text with something random in it must not fill the memory. */
const KEYS_MOST = 200

/** Tells whether an event was reported lately, so that a log has it once and not every second. */
export class Repeats {
  readonly #nowMs: () => number
  readonly #seen = new Map<string, { reportedMs: number; left: number }>()

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /**
   * Notes an event by its text; numbers in it do not count.
   * Returns how often it came unreported since its last report. Null: it was reported within the window.
   */
  note(text: string): number | null {
    const key = text.replaceAll(/\d+/g, '#')
    const nowMs = this.#nowMs()
    const before = this.#seen.get(key)
    if (before !== undefined && nowMs - before.reportedMs < WINDOW_MS) {
      before.left += 1
      return null
    }
    this.#seen.delete(key)
    this.#seen.set(key, { reportedMs: nowMs, left: 0 })
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= KEYS_MOST) break
      this.#seen.delete(oldest)
    }
    return before?.left ?? 0
  }
}
