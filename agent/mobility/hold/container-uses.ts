import type { Engine, VolumeUser } from '../../docker/contract.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { LocalCopy, UseGround, UseMarks } from '../../store/contract.ts'
import type { ContainerUses } from '../use-contract.ts'

/** Docker's states in which a container's processes exist and may write. */
const WRITING_STATES = new Set(['running', 'paused'])
/**
 * Docker's states in which a container has the volume.
 * One that is about to be restarted has no process, but a use.
 */
const LIVE_STATES = new Set([...WRITING_STATES, 'restarting'])
/**
 * A Mount precedes its container.
 * A container with several volumes waits up to two minutes for each.
 */
const STARTING_MS = 5 * 60_000
/**
 * After a boot Docker restarts what restart policies name, and mounts its volumes again.
 * It begins within this time.
 */
const RESTARTING_MS = 15_000
/** Scans in a row that must find a container gone: a restart policy brings it back in between. */
const SCANS_GONE = 2
/** No engine lists a container as running for longer than this after it has unmounted its volumes. */
const STILL_LISTED_MS = 10_000
/** A removal that waits asks again within this time. */
const UNWANTED_MS = 5_000
/** A heartbeat must stay far below the registry's limit for one message (1 MB). */
const REFERRERS_MOST = 2_000
/** Events cause scans within milliseconds of each other: those that are nearer than this count as one. */
const SCANS_APART_MS = 1_000

interface Mounted {
  readonly atMs: number
}

/** Which containers use which volume, by this host's engine. */
export class EngineUses implements ContainerUses {
  readonly #engine: Pick<Engine, 'users' | 'finishedAt'>
  readonly #clock: Clock
  #users: readonly VolumeUser[] = []
  /** The same by volume: each heartbeat asks for every volume that is held. */
  #byVolume: ReadonlyMap<string, readonly VolumeUser[]> = new Map()
  /** When the engine was asked for them. */
  #askedMs = Number.NEGATIVE_INFINITY
  #failure: string | null = 'the engine has not been asked yet'
  readonly #newestMounts = new Map<string, Mounted>()
  /** When containers were last surveyed: an older reply of the engine says nothing about later. */
  readonly #surveyedMs = new Map<string, number>()
  readonly #goneScans = new Map<string, { readonly count: number; readonly atMs: number }>()
  /** When a removal last asked for the end of a volume's uses. */
  readonly #unwantedMs = new Map<string, number>()
  readonly #sinceMs: number
  readonly #since: Date

  constructor(engine: Pick<Engine, 'users' | 'finishedAt'>, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
    this.#sinceMs = clock.elapsedMs()
    this.#since = clock.now()
  }

  /** Asks the engine. Rejects ENGINE_UNREACHABLE; the last reply stays. */
  async refresh(): Promise<readonly VolumeUser[]> {
    const askedMs = this.#clock.elapsedMs()
    try {
      const users = await this.#engine.users()
      this.#failure = null
      // Replies may come out of order: an older one does not know what has happened since.
      if (askedMs >= this.#askedMs) {
        this.#users = users
        this.#byVolume = groupByVolume(users)
        this.#askedMs = askedMs
      }
      return users
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error)
      throw error
    }
  }

  /** Null while the engine replies, else why it does not. */
  failure(): string | null {
    return this.#failure
  }

  /** Names of the containers that use a volume, by the last reply. */
  live(volumeName: string): string[] {
    return this.#named(volumeName, LIVE_STATES)
  }

  /** The containers behind `live`. */
  liveContainers(volumeName: string): VolumeUser[] {
    return this.#of(volumeName).filter((user) => LIVE_STATES.has(user.state))
  }

  /**
   * Names of the containers in any state, by the names of the volumes they mount.
   * Undefined: the engine has not replied yet, or there are too many.
   */
  referrers(): Readonly<Record<string, readonly string[]>> | undefined {
    if (!Number.isFinite(this.#askedMs)) return undefined
    const pairs = this.#users.flatMap(({ name, volumes }) => volumes.map((volume) => ({ name, volume })))
    if (pairs.length > REFERRERS_MOST) return undefined
    const byVolume = Map.groupBy(pairs, ({ volume }) => volume)
    return Object.fromEntries(Array.from(byVolume, ([volume, found]) => [volume, found.map(({ name }) => name)]))
  }

  /** Names of the containers whose processes may write to a volume, by the last reply. */
  writing(volumeName: string): string[] {
    return this.#named(volumeName, WRITING_STATES)
  }

  /** Names of the volumes that a container mounts, by the last reply. */
  volumesOf(container: string): readonly string[] {
    return this.#users.find((user) => user.id === container)?.volumes ?? []
  }

  /** Notes a Mount; returns the marks to store with the use. */
  mounted({ id, uses }: Pick<LocalCopy, 'id' | 'uses'>): UseMarks {
    const nowMs = this.#clock.elapsedMs()
    this.#newestMounts.set(id, { atMs: nowMs })
    this.#goneScans.delete(id)
    // Docker sends Unmount a moment before its list shows the container as exited: it may still look running. Times
    // of another boot do not count.
    const isRecent = (atMs: number) => atMs <= nowMs && nowMs - atMs < STILL_LISTED_MS
    return { unmountsMs: uses.unmountsMs.filter(isRecent), ground: null }
  }

  /**
   * Whether a Mount under an id that has a use may be the retry of one that an earlier agent counted.
   * That agent died before it replied, and the plugin asks again. Only `docker cp` mounts under the id of another
   * use, that of a running container: if it is taken for a retry, a release finds that container.
   */
  mayRepeat(id: string, volumeName: string): boolean {
    return !this.#newestMounts.has(id) && this.live(volumeName).length === 0
  }

  /** Notes an Unmount, of a container that was seen or could have been; returns the marks to store. */
  unmounted({ unmountsMs, ground }: UseMarks): UseMarks {
    return { unmountsMs: [...unmountsMs, this.#clock.elapsedMs()], ground }
  }

  /** The newest Mount since this agent started: each Mount is another object. */
  newestMount(id: string): Mounted | undefined {
    return this.#newestMounts.get(id)
  }

  /**
   * When a container last stopped, in ms since 1970; null: it has not. Rejects ENGINE_UNREACHABLE.
   * One in the state `created` has never run (moby, daemon/container/state.go), so the engine is not asked. It would
   * not reply while the container is being started, and that waits for all of its volumes.
   */
  async endedMs({ id, state }: Pick<VolumeUser, 'id' | 'state'>): Promise<number | null> {
    if (state === 'created') return null
    return (await this.#engine.finishedAt(id))?.getTime() ?? null
  }

  /** Asks the engine for a volume's containers shortly after a Mount. Rejects ENGINE_UNREACHABLE. */
  async survey(id: string, volumeName: string): Promise<UseGround> {
    const mounted = this.#newestMounts.has(id)
    const users = (await this.#engine.users()).filter((user) => user.volumes.includes(volumeName))
    const ends: Record<string, number | null> = {}
    for (const user of users) ends[user.id] = await this.endedMs(user)
    const live = users.filter(({ state }) => LIVE_STATES.has(state)).map((user) => user.id)
    // An agent that missed a Mount knows only of ends since its own start. An end in the future shows a stepped
    // clock, and nothing else.
    const nowMs = this.#clock.now().getTime()
    const isSince = (endMs: number | null) => endMs !== null && endMs > this.#since.getTime() && endMs <= nowMs
    const since = mounted ? [] : Object.keys(ends).filter((container) => isSince(ends[container] ?? null))
    this.#surveyedMs.set(id, this.#clock.elapsedMs())
    return { ends, live, since }
  }

  /**
   * Returns the ground with the containers that were seen since.
   * The very same object when there were none.
   * Call it after a refresh. Rejects ENGINE_UNREACHABLE.
   */
  async seenSince(volumeName: string, ground: UseGround): Promise<UseGround> {
    const seen: string[] = []
    const isQuiet = this.live(volumeName).length === 0
    for (const user of this.#of(volumeName)) {
      const { id, state } = user
      if (ground.live.includes(id) || ground.since.includes(id)) continue
      if (LIVE_STATES.has(state)) seen.push(id)
      else if (isQuiet) {
        const endMs = await this.endedMs(user)
        if (endMs !== null && endMs !== (ground.ends[id] ?? null)) seen.push(id)
      }
    }
    return seen.length === 0 ? ground : { ...ground, since: [...ground.since, ...seen] }
  }

  /**
   * Whether all uses of a mounted volume have ended although Docker sent fewer Unmounts than Mounts.
   * Docker does so after a crash of the engine, or when a plugin is killed at that moment. Call it once per scan,
   * after a refresh that succeeded, with the ground of `seenSince`.
   * It is careful on purpose: a container that is being started looks the same as one that is gone, so each use must
   * have shown its container first.
   * `isMounted`: as the kernel says. A use of before this agent's start whose mount is gone ended with the host's
   * power.
   */
  haveEnded({ id, name, mounts, uses }: LocalCopy, ground: UseGround, isMounted: boolean): boolean {
    if (this.#askedMs <= (this.#surveyedMs.get(id) ?? Number.NEGATIVE_INFINITY)) return false
    if (this.live(name).length > 0) {
      this.#goneScans.delete(id)
      return false
    }
    const count = Object.values(mounts).reduce((sum, times) => sum + times, 0)
    const shown = ground.live.length + ground.since.length - uses.unmountsMs.length
    const isUnwanted = this.#isUnwanted(id) && this.#of(name).length === 0
    const over = shown >= count || isUnwanted || this.#isLongStarted(id) || (!isMounted && this.#endedWithBoot(id))
    if (!over) return false
    const before = this.#goneScans.get(id)
    const atMs = this.#clock.elapsedMs()
    if (before !== undefined && atMs - before.atMs < SCANS_APART_MS) return before.count >= SCANS_GONE
    const scans = (before?.count ?? 0) + 1
    this.#goneScans.set(id, { count: scans, atMs })
    return scans >= SCANS_GONE
  }

  /**
   * A removal waits for the end of the volume's uses and found no reference.
   * A use then needs no container to end.
   */
  removalWaits(id: string): void {
    this.#unwantedMs.set(id, this.#clock.elapsedMs())
  }

  #isUnwanted(id: string): boolean {
    return this.#clock.elapsedMs() - (this.#unwantedMs.get(id) ?? Number.NEGATIVE_INFINITY) < UNWANTED_MS
  }

  #endedWithBoot(id: string): boolean {
    return !this.#newestMounts.has(id) && this.#clock.elapsedMs() - this.#sinceMs > RESTARTING_MS
  }

  /** Whether so much time has passed since the newest Mount that none can still be starting. */
  #isLongStarted(id: string): boolean {
    return this.#clock.elapsedMs() - (this.#newestMounts.get(id)?.atMs ?? this.#sinceMs) > STARTING_MS
  }

  #named(volumeName: string, states: ReadonlySet<string>): string[] {
    return this.#of(volumeName)
      .filter((user) => states.has(user.state))
      .map((user) => user.name)
  }

  #of(volumeName: string): readonly VolumeUser[] {
    return this.#byVolume.get(volumeName) ?? []
  }
}

function groupByVolume(users: readonly VolumeUser[]): Map<string, VolumeUser[]> {
  // A container may mount a volume at two places.
  const pairs = users.flatMap((user) => Array.from(new Set(user.volumes), (volume) => ({ user, volume })))
  const grouped = Map.groupBy(pairs, ({ volume }) => volume)
  return new Map(Array.from(grouped, ([volume, found]) => [volume, found.map(({ user }) => user)]))
}
