import type { Engine } from '../../agent/docker/contract.ts'
import type { Pause, Pauses } from '../../agent/fence/contract.ts'
import { KeyedQueue } from '../../agent/runtime/keyed-queue.ts'
import type { Life } from './process.ts'
import type { Chance } from './random.ts'

interface Note {
  readonly container: string
  readonly volume: string
  /** Which process's: numbers that are never used again. */
  readonly owner: number
}

/** The notes of one host: what outlives its processes, but no boot. */
export type Notes = Map<string, Note>

/** The plain form of agent/fence's pauses, by its contract, as one process has them: the real ones wait for a real disk. */
export class HeldPauses implements Pauses {
  static #opened = 0
  readonly #owner = HeldPauses.#opened++
  readonly #notes: Notes
  readonly #engine: Engine
  readonly #life: Life
  readonly #chance: Chance
  /** By container: what is done to it within this process happens in order. */
  readonly #lanes = new KeyedQueue()

  constructor(notes: Notes, engine: Engine, life: Life, chance: Chance) {
    this.#notes = notes
    this.#engine = engine
    this.#life = life
    this.#chance = chance
  }

  async all(): Promise<readonly Pause[]> {
    return [...this.#notes.values()].map(toPause)
  }

  async pause(wanted: readonly Pause[]): Promise<readonly Pause[]> {
    const states = new Map((await this.#engine.users()).map((user) => [user.id, user.state]))
    const due = wanted.filter(({ container }) => {
      const state = states.get(container)
      return state !== undefined && (state !== 'paused' || this.#of(container).length > 0)
    })
    const done = await Promise.allSettled(
      due.map((pause) => this.#freeze(pause, states.get(pause.container) === 'paused')),
    )
    return due.filter((_, at) => {
      const result = done[at]
      if (result?.status === 'rejected') throw result.reason
      return result?.value
    })
  }

  resume(which: (pause: Pause) => boolean): Promise<void> {
    return this.#each(which, async (container, chosen) => {
      // Another process was faster.
      if (!this.#of(container).some((note) => chosen.some((one) => keyOf(one) === keyOf(note)))) return
      const stays = this.#of(container).some((note) => !chosen.some((one) => keyOf(one) === keyOf(note)))
      if (!stays) await this.#engine.unpause(container)
      await this.#forget(chosen)
      if (!stays && this.#of(container).length > 0) await this.#engine.pause(container)
    })
  }

  kill(which: (pause: Pause) => boolean): Promise<void> {
    return this.#each(which, async (container) => {
      await this.#engine.kill(container)
      await this.#forget(this.#of(container))
    })
  }

  async #freeze(pause: Pause, ours: boolean): Promise<boolean> {
    const { container } = pause
    const notes = pause.volumes.map((volume): Note => ({ container, volume, owner: this.#owner }))
    const handed = this.#of(container).length > 0
    await this.#life.call(this.#chance.between(0.2, 3), () => {
      for (const note of notes) this.#notes.set(keyOf(note), note)
    })
    return this.#lanes.run(container, async () => {
      if ((await this.#engine.pause(container)) || ours || handed) {
        // As the real ones: another process may have let it go before it stood still.
        for (const note of notes) this.#notes.set(keyOf(note), note)
        return true
      }
      if (this.#of(container).some((note) => !notes.some((own) => keyOf(own) === keyOf(note)))) return true
      await this.#forget(notes)
      return false
    })
  }

  async #each(which: (pause: Pause) => boolean, work: (id: string, chosen: Note[]) => Promise<void>): Promise<void> {
    const chosen = [...this.#notes.values()].filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await Promise.all([...groups].map(([container, notes]) => this.#lanes.run(container, () => work(container, notes))))
  }

  #of(container: string): Note[] {
    return [...this.#notes.values()].filter((note) => note.container === container)
  }

  async #forget(notes: readonly Note[]): Promise<void> {
    await this.#life.call(this.#chance.between(0.1, 1), () => {
      for (const note of notes) this.#notes.delete(keyOf(note))
    })
  }
}

function keyOf({ container, volume, owner }: Note): string {
  return `${container} ${volume} ${owner}`
}

function toPause({ container, volume }: Note): Pause {
  return { container, volumes: [volume] }
}
