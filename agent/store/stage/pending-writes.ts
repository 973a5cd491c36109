/**
 * Writes under way of one session: their number, their bytes and the first failure.
 * Each change wakes the waiters.
 */
export class PendingWrites {
  #running = 0
  #bytes = 0
  #failure: { readonly error: unknown } | null = null
  #change = Promise.withResolvers<void>()

  /** Bytes that were received and are not written yet. */
  get bytes(): number {
    return this.#bytes
  }

  get running(): number {
    return this.#running
  }

  /** Throws the first failure, if there was one. */
  check(): void {
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Counts work until it has ended. A failure is kept for `check`. */
  add(bytes: number, work: Promise<unknown>): void {
    this.#running++
    this.#bytes += bytes
    work
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => {
        this.#running--
        this.#bytes -= bytes
        this.wake()
      })
  }

  wake(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers<void>()
  }

  /** Waits for the next change. */
  changed(): Promise<void> {
    return this.#change.promise
  }

  async ended(): Promise<void> {
    while (this.#running > 0) await this.changed()
  }
}
