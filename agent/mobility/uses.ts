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

/** Which containers use which volume, as this host's engine says it. */
export class Uses {
  readonly #engine: Engine
  readonly #clock: Clock
  #users: readonly VolumeUser[] = []
  #failure: string | null = 'the engine has not been asked yet'
  readonly #mountedMs = new Map<string, number>()
  readonly #mountedAt = new Map<string, Date>()
  readonly #seenLive = new Set<string>()
  readonly #goneLooks = new Map<string, number>()
  readonly #since: Date
  readonly #sinceMs: number

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
    this.#since = clock.now()
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

  /** Notes that Docker asked to mount a volume now. */
  mounted(id: string): void {
    this.#mountedMs.set(id, this.#clock.elapsedMs())
    this.#mountedAt.set(id, this.#clock.now())
    this.#seenLive.delete(id)
    this.#goneLooks.delete(id)
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
    const looks = (this.#goneLooks.get(id) ?? 0) + 1
    this.#goneLooks.set(id, looks)
    return looks >= LOOKS_GONE
  }

  async #ended(id: string, volumeName: string): Promise<boolean> {
    if (this.#seenLive.has(id)) return true
    const mountedMs = this.#mountedMs.get(id) ?? this.#sinceMs
    if (this.#clock.elapsedMs() - mountedMs > STARTING_MS) return true
    const mountedAt = this.#mountedAt.get(id) ?? this.#since
    for (const user of this.#of(volumeName)) {
      const finishedAt = await this.#engine.finishedAt(user.id)
      if (finishedAt !== null && finishedAt > mountedAt) return true
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
