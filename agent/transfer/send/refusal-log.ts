import type { Logger } from 'pino'

/** Lines of refused clients within one window; the others are counted. */
const LINES_MAX = 10
const WINDOW_MS = 10_000

/** Logs refused clients: each reason and address once in a while, and how many more there were. */
export class RefusalLog {
  readonly #log: Logger
  #said = new Set<string>()
  #windowEndMs = 0
  #unlogged = 0

  constructor(log: Logger) {
    this.#log = log
  }

  note(refusal: { readonly address: string | undefined; readonly reason: string; readonly hint: string }): void {
    const nowMs = performance.now()
    if (nowMs >= this.#windowEndMs) {
      this.#said = new Set()
      this.#windowEndMs = nowMs + WINDOW_MS
    }
    const key = `${refusal.address} ${refusal.reason}`
    if (this.#said.has(key) || this.#said.size >= LINES_MAX) {
      this.#unlogged += 1
      return
    }
    this.#said.add(key)
    this.#log.warn({ ...refusal, unlogged: this.#unlogged }, 'transfer connection refused')
    this.#unlogged = 0
  }
}
