import type { Engine } from '../../agent/docker/contract.ts'
import type { Pause, Pauses } from '../../agent/fence/contract.ts'
import { KeyedQueue } from '../../agent/runtime/keyed-queue.ts'

interface PauseNote {
  readonly container: string
  readonly volume: string
  /** The process that wrote it, or its pause: numbers that are never used again. */
  readonly owner: number
}

/** The notes of one host. They outlive its processes, but no boot. */
export type FakePauseNotes = Map<string, PauseNote>

/** Writes or deletes notes at some moment before it resolves. */
type WriteNotes = (what: 'add' | 'delete', effect: () => void) => Promise<void>

/** The pauses double of unit tests and simulator, as one process has them. The real pauses wait for a real disk. */
export class FakePauses implements Pauses {
  static #opened = 0
  readonly #owner = FakePauses.#opened++
  readonly #notes: FakePauseNotes
  readonly #engine: Pick<Engine, 'users' | 'pause' | 'unpause' | 'kill'>
  readonly #write: WriteNotes
  /** By container: changes of it by this process happen in order. */
  readonly #lanes = new KeyedQueue()

  constructor(
    notes: FakePauseNotes,
    engine: Pick<Engine, 'users' | 'pause' | 'unpause' | 'kill'>,
    write: WriteNotes = async (_, effect) => effect(),
  ) {
    this.#notes = notes
    this.#engine = engine
    this.#write = write
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
    const notes = pause.volumes.map((volume): PauseNote => ({ container, volume, owner: this.#owner }))
    const handed = this.#of(container).length > 0
    await this.#write('add', () => {
      for (const note of notes) this.#notes.set(keyOf(note), note)
    })
    return this.#lanes.run(container, async () => {
      // As the real ones do: another process may have resumed it before it was paused.
      if (await this.#engine.pause(container)) {
        const owner = FakePauses.#opened++
        for (const note of notes) {
          this.#notes.delete(keyOf(note))
          this.#notes.set(keyOf({ ...note, owner }), { ...note, owner })
        }
        return true
      }
      if (ours || handed) {
        for (const note of notes) this.#notes.set(keyOf(note), note)
        return true
      }
      if (this.#of(container).some((note) => !notes.some((own) => keyOf(own) === keyOf(note)))) return true
      await this.#forget(notes)
      return false
    })
  }

  async #each(
    which: (pause: Pause) => boolean,
    work: (id: string, chosen: PauseNote[]) => Promise<void>,
  ): Promise<void> {
    const chosen = [...this.#notes.values()].filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await Promise.all([...groups].map(([container, notes]) => this.#lanes.run(container, () => work(container, notes))))
  }

  #of(container: string): PauseNote[] {
    return [...this.#notes.values()].filter((note) => note.container === container)
  }

  async #forget(notes: readonly PauseNote[]): Promise<void> {
    await this.#write('delete', () => {
      for (const note of notes) this.#notes.delete(keyOf(note))
    })
  }
}

function keyOf({ container, volume, owner }: PauseNote): string {
  return `${container} ${volume} ${owner}`
}

function toPause({ container, volume }: PauseNote): Pause {
  return { container, volumes: [volume] }
}
