import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Engine, VolumeUser } from '../docker/contract.ts'
import { KeyedQueue } from '../runtime/keyed-queue.ts'
import type { Pause, Pauses } from './contract.ts'
import { type Note, Notes } from './notes.ts'

/** A container that does not tell when it last stopped (an engine under load) must not hold up the fence of the others. */
const RUN_WAIT_MS = 500

type PausingEngine = Pick<Engine, 'users' | 'finishedAt' | 'pause' | 'unpause' | 'kill'>

/**
 * What this host has paused, kept in `<state>/pauses/`. A container is paused as long as there is a note about it: one
 * for each volume. The note comes first and goes last, so a process that dies leaves a note too many at worst. To
 * resume by such a note is right or without effect: what runs is not touched, and a container that has been started
 * anew since (whoever may have paused it then) is told by when it last stopped.
 */
export async function openPauses(options: { stateDir: string; engine: PausingEngine; log: Logger }): Promise<Pauses> {
  return new NotedPauses(await Notes.open(join(options.stateDir, 'pauses')), options.engine, options.log)
}

class NotedPauses implements Pauses {
  readonly #notes: Notes
  readonly #engine: PausingEngine
  readonly #log: Logger
  readonly #owner = randomUUID()
  /** By container: what is done to it within this process happens in order. */
  readonly #lanes = new KeyedQueue()
  /** Paused without a note, because none could be written: the notes, by container. */
  readonly #unnoted = new Map<string, readonly Note[]>()

  constructor(notes: Notes, engine: PausingEngine, log: Logger) {
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
      wanted.map((pause) => this.#lanes.run(pause.container, () => this.#pauseOne(pause, users))),
    )
    return wanted.filter((_, i) => done[i])
  }

  async resume(which: (pause: Pause) => boolean): Promise<void> {
    const chosen = (await this.#notes.read()).filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await allTried(
      Array.from(groups, ([container, notes]) => this.#lanes.run(container, () => this.#letGo(container, notes))),
    )
  }

  async kill(which: (pause: Pause) => boolean): Promise<void> {
    const notes = await this.#notes.read()
    const chosen = notes.filter((note) => which(toPause(note)))
    const groups = Map.groupBy(chosen, ({ container }) => container)
    await allTried(
      Array.from(groups, ([container, first]) => this.#lanes.run(container, () => this.#end(container, first))),
    )
  }

  /** False: nothing was done, because somebody else has paused it, or it is gone. */
  async #pauseOne(pause: Pause, users: readonly VolumeUser[]): Promise<boolean> {
    const plan = await this.#plan(pause, users)
    // Another pause of ours may have ended since the engine was asked: then what stood still runs.
    const again = plan ?? (await this.#plan(pause, await this.#engine.users()))
    if (again === null) return false
    await this.#note(again)
    return await this.#freeze(again)
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
    const handed = before.some((note) => note.container === pause.container)
    return { pause, notes, ours: user.state === 'paused', handed }
  }

  /** Notes that cannot be read must not keep a fence from coming: then what is paused counts as somebody else's. */
  async #readForFence(): Promise<readonly Note[]> {
    try {
      return await this.#notes.read()
    } catch (error) {
      this.#log.error({ err: error }, 'pausing without knowing what is paused already')
      return []
    }
  }

  /** A full disk must not keep a fence from coming. */
  async #note({ pause, notes }: Plan): Promise<void> {
    try {
      for (const note of notes) await this.#notes.write(note)
      this.#unnoted.delete(pause.container)
    } catch (error) {
      if (this.#unnoted.has(pause.container)) return
      this.#unnoted.set(pause.container, notes)
      this.#log.error({ err: error, container: pause.container }, 'pausing a container without a note of it')
    }
  }

  /**
   * What was paused while no note could be written is noted as soon as one can: by the note it is found that lets it go
   * on.
   */
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

  /** False: the container does not run, or somebody else has paused it just now. */
  async #freeze(plan: Plan): Promise<boolean> {
    const { pause, notes, ours, handed } = plan
    const { container } = pause
    const frozen = await this.#engine.pause(container)
    const all = (await this.#readForFence()).filter((note) => note.container === container)
    const own = (note: Note) => notes.some((one) => isSame(note, one))
    if (frozen || ours || handed) {
      // Another process may have found the note before the container stood still, and let it go: what stands still has a note.
      if (all.filter(own).length < notes.length) await this.#note(plan)
      return true
    }
    if (all.some((note) => !own(note))) return true
    this.#unnoted.delete(container)
    await Promise.all(all.map((note) => this.#notes.forget(note)))
    return false
  }

  async #letGo(container: string, chosen: readonly Note[]): Promise<void> {
    const of = async () => (await this.#notes.read()).filter((note) => note.container === container)
    const before = await of()
    // Another process was faster; whoever has paused it since is not to be disturbed.
    if (!before.some((note) => chosen.some((other) => isSame(note, other)))) return
    const stays = before.some((note) => !chosen.some((other) => isSame(note, other)))
    if (!stays && (await this.#isStillOfRun(container, chosen))) await this.#engine.unpause(container)
    await Promise.all(chosen.map((note) => this.#notes.forget(note)))
    if (!stays) await this.#pauseAnew(container, await of())
  }

  /**
   * Another process may have noted a fence between the look and the resume, and found the container paused. Or it finds it so only now, by this pause: the notes
   * become ours first, by which it is told from a person's.
   */
  async #pauseAnew(container: string, noted: readonly Note[]): Promise<void> {
    if (noted.length === 0) return
    try {
      await Promise.all(noted.map((note) => this.#notes.write({ ...note, owner: this.#owner })))
    } finally {
      await this.#engine.pause(container)
    }
  }

  async #end(container: string, chosen: readonly Note[]): Promise<void> {
    if (await this.#isStillOfRun(container, chosen)) await this.#engine.kill(container)
    const all = (await this.#notes.read()).filter((note) => note.container === container)
    await Promise.all(all.map((note) => this.#notes.forget(note)))
  }

  /** Whether the container still is in the run in which we paused it. */
  async #isStillOfRun(container: string, notes: readonly Note[]): Promise<boolean> {
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

/** When the container had last stopped; null: never; undefined: not known, then any run may be meant. */
type Run = string | null | undefined

interface Plan {
  readonly pause: Pause
  readonly notes: readonly Note[]
  /** It is paused already, by us. */
  readonly ours: boolean
  /** Another pause of ours is on its way, or was; whoever ends that one leaves the container to this one. */
  readonly handed: boolean
}

function toPause({ container, volume }: Note): Pause {
  return { container, volumes: [volume] }
}

function toRun(finishedAt: Date | null): string | null {
  return finishedAt?.toISOString() ?? null
}

function isOfRun(note: Note, run: Run): boolean {
  return note.stoppedAt === undefined || run === undefined || note.stoppedAt === run
}

type Key = Pick<Note, 'volume' | 'owner'>

/** Of two notes about the same container. */
function isSame(one: Key, other: Key): boolean {
  return one.volume === other.volume && one.owner === other.owner
}

/** All results, in order; rejects with the first failure once all have ended. */
async function allTried<T>(tries: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(tries)
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}
