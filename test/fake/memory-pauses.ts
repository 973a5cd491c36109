import type { Pause, Pauses } from '../../agent/fence/contract.ts'

/** The containers of one host, as far as pausing goes. */
interface Containers {
  setState(id: string, from: string, to: string): boolean
  end(id: string): void
}

/** What one host has paused. It survives the host's agent. */
export class MemoryPauses implements Pauses {
  readonly #containers: Containers
  #notes: Pause[] = []

  constructor(containers: Containers) {
    this.#containers = containers
  }

  async all() {
    return [...this.#notes]
  }

  async pause(wanted: readonly Pause[]) {
    const done = wanted.filter(({ container }) => {
      const noted = this.#notes.some((note) => note.container === container)
      return this.#containers.setState(container, 'running', 'paused') || noted
    })
    this.#notes.push(...done)
    return done
  }

  async resume(which: (pause: Pause) => boolean) {
    for (const pause of this.#notes.filter(which)) {
      this.#notes = this.#notes.filter((note) => note !== pause)
      const others = this.#notes.some(({ container }) => container === pause.container)
      if (!others) this.#containers.setState(pause.container, 'paused', 'running')
    }
  }

  async kill(which: (pause: Pause) => boolean) {
    for (const pause of this.#notes.filter(which)) {
      this.#notes = this.#notes.filter(({ container }) => container !== pause.container)
      this.#containers.end(pause.container)
    }
  }
}
