import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Engine, VolumeUser } from '../docker/contract.ts'
import { KeyedQueue } from '../runtime/keyed-queue.ts'
import type { Pause, Pauses } from './contract.ts'
import { type PauseNote, PauseNotes } from './pause-notes.ts'

/** How long to wait for the engine to say when a container last stopped. A slow reply must not delay the fence. */
const RUN_WAIT_MS = 500

type PausingEngine = Pick<Engine, 'users' | 'finishedAt' | 'pause' | 'unpause' | 'kill'>

/**
 * Opens the pauses of this host, kept in `<state>/pauses/`.
 * A container is paused as long as it has a note: one for each volume.
 * A note is written before the pause, replaced after it and removed after the resume.
 * A process that dies leaves a note too many at worst.
 * A resume by such a note is right or without effect: a running container is not touched. A container that was
 * restarted since, and may have been paused by somebody else, is recognized by when it last stopped.
 */
export async function openPauses(options: { stateDir: string; engine: PausingEngine; log: Logger }): Promise<Pauses> {
  return new NotedPauses(await PauseNotes.open(join(options.stateDir, 'pauses')), options.engine, options.log)
}

class NotedPauses implements Pauses {
  readonly #notes: PauseNotes
  readonly #engine: PausingEngine
  readonly #log: Logger
  readonly #owner = randomUUID()
  /** By container: this process changes it in order. */
  readonly #queue = new KeyedQueue()
  /** By container: the notes of its pause that could not be written. */
  readonly #unnoted = new Map<string, readonly PauseNote[]>()

  constructor(notes: PauseNotes, engine: PausingEngine, log: Logger) {
    this.#notes = notes
    this.#engine = engine
    this.#log = log
  }

  async all(): Promise<readonly Pause[]> {
    await this.#noteLate()
    const groups = Map.groupBy(await this.#notes.read(), ({ container }) => container)
    return [...groups.values()].flatMap((notes) => {
      const [first] = notes
      return first === undefined ? [] : [{ ...toPause(first), volumes: notes.map(({ volume }) => volume) }]
    })
  }

  async pause(wanted: readonly Pause[]): Promise<readonly Pause[]> {
    const users = await this.#engine.users()
    const done = await allTried(
      wanted.map((pause) => this.#queue.run(pause.container, () => this.#pauseOne(pause, users))),
    )
    return wanted.filter((_, i) => done[i])
  }

  async resume(which: (pause: Pause) => boolean): Promise<void> {
    const chosen = (await this.#notes.read()).filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await allTried(
      Array.from(groups, ([container, notes]) => this.#queue.run(container, () => this.#resumeOne(container, notes))),
    )
  }

  async kill(which: (pause: Pause) => boolean): Promise<void> {
    const notes = await this.#notes.read()
    const chosen = notes.filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await allTried(
      Array.from(groups, ([container, first]) => this.#queue.run(container, () => this.#killOne(container, first))),
    )
  }

  /** False: nothing was done, because somebody else has paused the container, or it is gone. */
  async #pauseOne(pause: Pause, users: readonly VolumeUser[]): Promise<boolean> {
    const plan = await this.#plan(pause, users)
    // Another pause of ours may have ended since the engine replied: then the container runs.
    const due = plan ?? (await this.#plan(pause, await this.#engine.users()))
    if (due === null) return false
    await this.#note(due)
    return await this.#pauseNoted(due)
  }

  /** Null for a container that somebody else has paused, or that is gone. */
  async #plan(pause: Pause, users: readonly VolumeUser[]): Promise<Plan | null> {
    const user = users.find(({ id }) => id === pause.container)
    const before = await this.#readForFence()
    const run = await this.#runOf(pause.container)
    const ours =
      this.#unnoted.has(pause.container) ||
      before.some((note) => note.container === pause.container && isOfRun(note, run))
    if (user === undefined || (user.state === 'paused' && !ours)) return null
    const notes = pause.volumes.map((volume) => ({
      container: pause.container,
      volume,
      owner: this.#owner,
      ...(run === undefined ? {} : { stoppedAt: run }),
    }))
    const isHandedOver = before.some((note) => note.container === pause.container)
    return { pause, notes, ours: user.state === 'paused', isHandedOver }
  }

  /** Reads the notes. Unreadable notes must not prevent a fence: a paused container then counts as somebody else's. */
  async #readForFence(): Promise<readonly PauseNote[]> {
    try {
      return await this.#notes.read()
    } catch (error) {
      this.#log.error({ err: error }, 'pause notes unreadable: fencing without them')
      return []
    }
  }

  /** Writes the notes of a pause. A full disk must not prevent a fence. */
  async #note({ pause, notes }: Plan): Promise<void> {
    try {
      for (const note of notes) await this.#notes.write(note)
      this.#unnoted.delete(pause.container)
    } catch (error) {
      if (this.#unnoted.has(pause.container)) return
      this.#unnoted.set(pause.container, notes)
      this.#log.error(
        { err: error, container: pause.container },
        'pause note not written: pausing the container without it',
      )
    }
  }

  /** Writes the notes that could not be written before. A pause without a note would never be resumed. */
  async #noteLate(): Promise<void> {
    for (const [container, notes] of this.#unnoted) {
      try {
        for (const note of notes) await this.#notes.write(note)
        this.#unnoted.delete(container)
      } catch {
        return
      }
    }
  }

  /** False: the container does not run, or somebody else has just paused it. */
  async #pauseNoted(plan: Plan): Promise<boolean> {
    const { pause, notes, ours, isHandedOver } = plan
    const { container } = pause
    if (await this.#engine.pause(container)) {
      // Another process may have resumed it by our note before this pause, and is about to remove that note. A paused
      // container needs one, so another takes its place, which that process does not remove.
      const owner = randomUUID()
      await this.#note({ ...plan, notes: notes.map((note) => ({ ...note, owner })) })
      return true
    }
    const all = (await this.#readForFence()).filter((note) => note.container === container)
    const own = (note: PauseNote) => notes.some((one) => isSame(note, one))
    if (ours || isHandedOver) {
      // Another process may have removed the note meanwhile.
      if (all.filter(own).length < notes.length) await this.#note(plan)
      return true
    }
    if (all.some((note) => !own(note))) return true
    this.#unnoted.delete(container)
    await Promise.all(all.map((note) => this.#notes.remove(note)))
    return false
  }

  async #resumeOne(container: string, chosen: readonly PauseNote[]): Promise<void> {
    const of = async () => (await this.#notes.read()).filter((note) => note.container === container)
    const before = await of()
    // Another process has resumed it. A pause by somebody else since then must stay.
    if (!before.some((note) => chosen.some((other) => isSame(note, other)))) return
    const stays = before.some((note) => !chosen.some((other) => isSame(note, other)))
    if (!stays && (await this.#isStillOfRun(container, chosen))) await this.#engine.unpause(container)
    await Promise.all(chosen.map((note) => this.#notes.remove(note)))
    if (!stays) await this.#pauseAgain(container, await of())
  }

  /**
   * Pauses a container again for the notes that another process wrote during the resume.
   * That process found the container paused, or finds it paused only by this call. So the notes become ours first:
   * without them it would take the pause for an operator's.
   */
  async #pauseAgain(container: string, noted: readonly PauseNote[]): Promise<void> {
    if (noted.length === 0) return
    try {
      await Promise.all(noted.map((note) => this.#notes.write({ ...note, owner: this.#owner })))
    } finally {
      await this.#engine.pause(container)
    }
  }

  async #killOne(container: string, chosen: readonly PauseNote[]): Promise<void> {
    if (await this.#isStillOfRun(container, chosen)) await this.#engine.kill(container)
    const all = (await this.#notes.read()).filter((note) => note.container === container)
    await Promise.all(all.map((note) => this.#notes.remove(note)))
  }

  /** Returns whether the container is still in the run in which it was paused. */
  async #isStillOfRun(container: string, notes: readonly PauseNote[]): Promise<boolean> {
    const run = toRun(await this.#engine.finishedAt(container))
    return notes.some((note) => isOfRun(note, run))
  }

  async #runOf(container: string): Promise<Run> {
    const stop = new AbortController()
    const late = sleep(RUN_WAIT_MS, undefined, { signal: stop.signal }).catch(() => undefined)
    const asked = this.#engine.finishedAt(container).then(toRun, () => undefined)
    const run = await Promise.race([asked, late])
    stop.abort()
    return run
  }
}

/** A run of a container: when it had last stopped. Null: never. Undefined: unknown, which matches any run. */
type Run = string | null | undefined

interface Plan {
  readonly pause: Pause
  readonly notes: readonly PauseNote[]
  /** Wherry has paused it already. */
  readonly ours: boolean
  /** Another pause of ours was noted: the call that ends it leaves the container to this pause. */
  readonly isHandedOver: boolean
}

function toPause({ container, volume }: PauseNote): Pause {
  return { container, volumes: [volume] }
}

function toRun(finishedAt: Date | null): string | null {
  return finishedAt?.toISOString() ?? null
}

function isOfRun(note: PauseNote, run: Run): boolean {
  return note.stoppedAt === undefined || run === undefined || note.stoppedAt === run
}

type Key = Pick<PauseNote, 'volume' | 'owner'>

/** Compares two notes about the same container. */
function isSame(one: Key, other: Key): boolean {
  return one.volume === other.volume && one.owner === other.owner
}

/** Returns all results in order; rejects with the first failure once all have ended. */
async function allTried<T>(tries: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(tries)
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}
