import type { Engine, VolumeUser } from '../docker/contract.ts'
import type { Clock } from './parts.ts'

/** Docker's states in which a container's processes exist and may write. */
const WRITING_STATES = new Set(['running', 'paused'])
/** Docker's states in which a container has the volume: one that is about to be restarted has no process, but a use. */
const LIVE_STATES = new Set([...WRITING_STATES, 'restarting'])
/** A Mount comes before its container runs, and a container with several volumes waits up to two minutes for each. */
const STARTING_MS = 5 * 60_000
/** After a boot Docker starts again what restart policies name, and mounts its volumes anew: it needs this long at most to begin. */
const RESTARTING_MS = 15_000
/** Seen gone this many looks in a row before it is believed: a restart policy brings a container back in between. */
const LOOKS_GONE = 2
/** For longer no engine lists a container as running that it has unmounted volumes of. */
const STILL_LISTED_MS = 10_000
/** Events make looks follow each other within milliseconds: those that are nearer than this count as one. */
const LOOK_APART_MS = 1_000

/** The containers of a volume as they were at its last Mount, or when this agent first looked; and what was seen of them since. */
interface Ground {
  /** When each had last stopped: another time later means that it has run since. Times are compared for being the same only, because clocks may be stepped. */
  readonly ends: ReadonlyMap<string, number | null>
  /** Those that were running then. */
  readonly live: ReadonlySet<string>
  /** Others that were seen to run since, or to have run. */
  readonly since: Set<string>
  /** What the engine was asked before this says nothing about since. */
  readonly atMs: number
}

/** Which containers use which volume, as this host's engine says it. */
export class Uses {
  readonly #engine: Engine
  readonly #clock: Clock
  #users: readonly VolumeUser[] = []
  /** When the engine was asked for them. */
  #askedMs = Number.NEGATIVE_INFINITY
  #failure: string | null = 'the engine has not been asked yet'
  readonly #mountedMs = new Map<string, number>()
  readonly #grounds = new Map<string, Ground>()
  /** When a volume was unmounted: each time for a container that had been seen, or could have been. */
  readonly #unmounts = new Map<string, number[]>()
  readonly #goneLooks = new Map<string, { readonly count: number; readonly atMs: number }>()
  readonly #sinceMs: number
  readonly #since: Date

  constructor(engine: Engine, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
    this.#sinceMs = clock.elapsedMs()
    this.#since = clock.now()
  }

  /** Asks the engine. Rejects ENGINE_UNREACHABLE; the last answer stays. */
  async refresh(): Promise<readonly VolumeUser[]> {
    const askedMs = this.#clock.elapsedMs()
    try {
      this.#users = await this.#engine.users()
      this.#askedMs = askedMs
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
    this.#grounds.delete(id)
    // Docker sends Unmount a moment before its list shows the container as exited: it may still be taken for one that runs.
    const recent = (this.#unmounts.get(id) ?? []).filter((atMs) => nowMs - atMs < STILL_LISTED_MS)
    this.#unmounts.set(id, recent)
    this.#goneLooks.delete(id)
    // Without an answer the end of its uses is found by time alone.
    this.#survey(id, volumeName).catch(() => undefined)
  }

  /**
   * Whether a Mount under an id that has a use already may be that very use once more: an agent before this one counted it and died before it answered, and the plugin
   * asks again. Only `docker cp` mounts under the id of another use, that of a running container; should it be taken for a repetition, a release finds that container.
   */
  mayRepeat(id: string, volumeName: string): boolean {
    return !this.#mountedMs.has(id) && this.live(volumeName).length === 0
  }

  /** Notes that Docker unmounted a volume once. */
  unmounted(id: string): void {
    this.#unmounts.set(id, [...(this.#unmounts.get(id) ?? []), this.#clock.elapsedMs()])
  }

  /** The uses were counted anew, by the containers that run. */
  recounted(id: string): void {
    this.#grounds.delete(id)
    this.#unmounts.delete(id)
  }

  /**
   * Whether all uses of a mounted volume, `count` of them, are over although Docker sent fewer Unmounts than Mounts (it does so after a
   * crash of the engine). Call it once per look, after a refresh that succeeded. Careful on purpose: a container that
   * is just being started looks the same as one that is gone, so each use must have shown its container first. `isMounted`: as the kernel says it;
   * a use of before this agent's start whose mount is gone ended with the host's power.
   */
  async isOver(id: string, volumeName: string, count: number, isMounted: boolean): Promise<boolean> {
    const ground = this.#grounds.get(id) ?? (await this.#survey(id, volumeName))
    if (this.#askedMs <= ground.atMs) return false
    const live = this.liveContainers(volumeName)
    for (const { id: container } of live) if (!ground.live.has(container)) ground.since.add(container)
    if (live.length > 0) {
      this.#goneLooks.delete(id)
      return false
    }
    const over = (!isMounted && this.#endedWithBoot(id)) || (await this.#allShown(id, volumeName, ground, count))
    if (!over) return false
    const before = this.#goneLooks.get(id)
    const atMs = this.#clock.elapsedMs()
    if (before !== undefined && atMs - before.atMs < LOOK_APART_MS) return before.count >= LOOKS_GONE
    const looks = (before?.count ?? 0) + 1
    this.#goneLooks.set(id, { count: looks, atMs })
    return looks >= LOOKS_GONE
  }

  #endedWithBoot(id: string): boolean {
    return !this.#mountedMs.has(id) && this.#clock.elapsedMs() - this.#sinceMs > RESTARTING_MS
  }

  /** Every use's container was seen, running or to have run; or so much time has passed that none can still be starting. */
  async #allShown(id: string, volumeName: string, ground: Ground, count: number): Promise<boolean> {
    const mountedMs = this.#mountedMs.get(id) ?? this.#sinceMs
    if (this.#clock.elapsedMs() - mountedMs > STARTING_MS) return true
    for (const user of this.#of(volumeName)) {
      if (ground.live.has(user.id) || ground.since.has(user.id)) continue
      const finishedAt = (await this.#engine.finishedAt(user.id))?.getTime() ?? null
      if (finishedAt !== null && finishedAt !== ground.ends.get(user.id)) ground.since.add(user.id)
    }
    return ground.live.size + ground.since.size - (this.#unmounts.get(id)?.length ?? 0) >= count
  }

  async #survey(id: string, volumeName: string): Promise<Ground> {
    const atMs = this.#mountedMs.get(id)
    const users = (await this.#engine.users()).filter((user) => user.volumes.includes(volumeName))
    const ends = new Map<string, number | null>()
    for (const user of users) ends.set(user.id, (await this.#engine.finishedAt(user.id))?.getTime() ?? null)
    const live = new Set(users.filter(({ state }) => LIVE_STATES.has(state)).map((user) => user.id))
    // An agent that was away for a Mount knows of ends since its own start only. One that is yet to come tells of a clock that was stepped, and of nothing else.
    const nowMs = this.#clock.now().getTime()
    const isSince = (endMs: number | null) => endMs !== null && endMs > this.#since.getTime() && endMs <= nowMs
    const ended =
      atMs === undefined ? [...ends].filter(([, endMs]) => isSince(endMs)).map(([container]) => container) : []
    const ground = { ends, live, since: new Set(ended), atMs: this.#clock.elapsedMs() }
    // A Mount may have come meanwhile: what was seen before it says nothing about its container.
    if (this.#mountedMs.get(id) === atMs) this.#grounds.set(id, ground)
    return ground
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
