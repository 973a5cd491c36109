/** One task at a time per volume on this host: hold, release, apply and trash never overlap. */
export class VolumeLocks {
  readonly #tails = new Map<string, Promise<unknown>>()

  /** Runs `task` after all earlier tasks of the same volume; its rejection is the caller's and stops nobody else. */
  async run<T>(id: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(id) ?? Promise.resolve()
    const mine = before.then(task, task)
    const tail = mine.catch(() => undefined)
    this.#tails.set(id, tail)
    try {
      return await mine
    } finally {
      if (this.#tails.get(id) === tail) this.#tails.delete(id)
    }
  }
}
