/** Counts the reads of a tree under way: what they use may be closed when they have ended. */
export class OpenReads {
  #count = 0
  #ended: (() => void) | undefined

  /** Counts a read as under way until disposed. */
  begin(): Disposable {
    this.#count++
    return {
      [Symbol.dispose]: () => {
        this.#count--
        if (this.#count === 0) this.#ended?.()
      },
    }
  }

  /** Resolves when no read is under way. The caller starts no new one. */
  async ended(): Promise<void> {
    if (this.#count > 0) await new Promise<void>((resolve) => (this.#ended = resolve))
  }
}
