import type { Engine, VolumeUser } from '../docker/contract.ts'
import type { Clock } from './parts.ts'

/** Docker's states in which a container's processes exist and may write. */
const WRITING_STATES = new Set(['running', 'paused'])
/** Docker's states in which a container has the volume: one that is about to be restarted has no process, but a use. */
const LIVE_STATES = new Set([...WRITING_STATES, 'restarting'])
/** A Mount comes before its container runs, and a container with several volumes waits up to two minutes for each. */
const STARTING_MS = 5 * 60_000
/** Seen gone this many looks in a row before it is believed: a restart policy brings a container back in between. */
const LOOKS_GONE = 2
/** Events make looks follow each other within milliseconds: those that are nearer than this count as one. */
const LOOK_APART_MS = 1_000

/** The containers of a volume at its last Mount, with when each had last stopped. */
type Ends = ReadonlyMap<string, number | null>

/** Which containers use which volume, as this host's engine says it. */
export class Uses {
  readonly #engine: Engine
  readonly #clock: Clock
  #users: readonly VolumeUser[] = []
  #failure: string | null = 'the engine has not been asked yet'
  readonly #mountedMs = new Map<string, number>()
  readonly #endsAtMount = new Map<string, Ends>()
  readonly #seenLive = new Set<string>()
  readonly #goneLooks = new Map<string, { readonly count: number; readonly atMs: number }>()
  readonly #sinceMs: number

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
    this.#sinceMs = clock.elapsedMs()
  }

  /** Asks the engine. Rejects ENGINE_UNREACHABLE; the last answer stays. */
  async refresh(): Promise<readonly VolumeUser[]> {
    try {
      this.#users = await this.#engine.users()
      this.#failure = null
      return this.#users
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error)
      throw error
    }
  }

  /** Null while the engine answers, else why it does not. */
  failure(): string | null {
    return this.#failure
  }

  /** Names of the containers that use a volume, by the last answer. */
  live(volumeName: string): string[] {
    return this.#named(volumeName, LIVE_STATES)
  }

  /** The containers behind `live`. */
  liveContainers(volumeName: string): VolumeUser[] {
    return this.#of(volumeName).filter((user) => LIVE_STATES.has(user.state))
  }

  /** Names of the containers whose processes may write to a volume, by the last answer. */
  writing(volumeName: string): string[] {
    return this.#named(volumeName, WRITING_STATES)
  }

  /** Volumes a container mounts, by the last answer. */
  volumesOf(container: string): readonly string[] {
    return this.#users.find((user) => user.id === container)?.volumes ?? []
  }

  /** Notes that Docker asked to mount a volume now. The engine is asked in the background: while it starts, it waits for this Mount's answer. */
  mounted(id: string, volumeName: string): void {
    const nowMs = this.#clock.elapsedMs()
    this.#mountedMs.set(id, nowMs)
    this.#endsAtMount.delete(id)
    this.#seenLive.delete(id)
    this.#goneLooks.delete(id)
    const note = async () => {
      const users = (await this.#engine.users()).filter((user) => user.volumes.includes(volumeName))
      const ends = new Map<string, number | null>()
      for (const user of users) ends.set(user.id, (await this.#engine.finishedAt(user.id))?.getTime() ?? null)
      if (this.#mountedMs.get(id) === nowMs) this.#endsAtMount.set(id, ends)
    }
    // Without an answer the end of a container that was never seen to run is found by its time alone.
    note().catch(() => undefined)
  }

  /**
   * Whether all uses of a mounted volume are over although Docker sent fewer Unmounts than Mounts (it does so after a
   * crash of the engine). Call it once per look, after a refresh that succeeded. Careful on purpose: a container that
   * is just being started looks the same as one that is gone.
   */
  async isOver(id: string, volumeName: string): Promise<boolean> {
    if (this.live(volumeName).length > 0) {
      this.#seenLive.add(id)
      this.#goneLooks.delete(id)
      return false
    }
    if (!(await this.#ended(id, volumeName))) return false
    const before = this.#goneLooks.get(id)
    const atMs = this.#clock.elapsedMs()
    if (before !== undefined && atMs - before.atMs < LOOK_APART_MS) return before.count >= LOOKS_GONE
    const count = (before?.count ?? 0) + 1
    this.#goneLooks.set(id, { count, atMs })
    return count >= LOOKS_GONE
  }

  async #ended(id: string, volumeName: string): Promise<boolean> {
    if (this.#seenLive.has(id)) return true
    const mountedMs = this.#mountedMs.get(id) ?? this.#sinceMs
    if (this.#clock.elapsedMs() - mountedMs > STARTING_MS) return true
    // Clocks may be stepped: a container has ended since the Mount when it has stopped at another time than it had then.
    const ends = this.#endsAtMount.get(id)
    if (ends === undefined) return false
    for (const user of this.#of(volumeName)) {
      const finishedAt = (await this.#engine.finishedAt(user.id))?.getTime() ?? null
      if (finishedAt !== null && finishedAt !== ends.get(user.id)) return true
    }
    return false
  }

  #named(volumeName: string, states: ReadonlySet<string>): string[] {
    return this.#of(volumeName)
      .filter((user) => states.has(user.state))
      .map((user) => user.name)
  }

  #of(volumeName: string): VolumeUser[] {
    return this.#users.filter((user) => user.volumes.includes(volumeName))
  }
}
