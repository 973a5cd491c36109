import type { VolumeUser } from '../docker/contract.ts'
import type { WherryError } from '../model/errors.ts'
import type { Checkpoint, Trouble } from '../model/model.ts'
import type { LocalCopy, UseGround, UseMarks } from '../store/contract.ts'
import type { Query, SurrenderReply } from '../transfer/contract.ts'

/** Containers of this host by the volumes they use, by the engine's last reply. */
export interface ContainerUses {
  /** Asks the engine. Rejects ENGINE_UNREACHABLE; the last reply stays. */
  refresh(): Promise<readonly VolumeUser[]>
  /** Null while the engine replies, else why it does not. */
  failure(): string | null
  /** Names of the containers that use a volume. */
  live(volumeName: string): string[]
  /** The containers behind `live`. */
  liveContainers(volumeName: string): VolumeUser[]
  /** Names of the containers whose processes may write to a volume. */
  writing(volumeName: string): string[]
  /**
   * Names of the containers in any state, by the names of the volumes they mount.
   * Undefined: the engine has not replied yet, or there are too many.
   */
  referrers(): Readonly<Record<string, readonly string[]>> | undefined
  /** Names of the volumes that a container mounts. */
  volumesOf(container: string): readonly string[]
  /** Notes a Mount; returns the marks to store with the use. */
  mounted(copy: Pick<LocalCopy, 'id' | 'uses'>): UseMarks
  /** Notes an Unmount; returns the marks to store with the use. */
  unmounted(marks: UseMarks): UseMarks
  /** Whether a Mount under an id that has a use may be the retry of one that an earlier agent counted. */
  mayRepeat(id: string, volumeName: string): boolean
  /** The newest Mount since this agent started: each Mount is another object. */
  newestMount(id: string): object | undefined
  /** When a container last stopped, in ms since 1970; null: it has not. Rejects ENGINE_UNREACHABLE. */
  endedMs(user: Pick<VolumeUser, 'id' | 'state'>): Promise<number | null>
  /** Asks the engine for a volume's containers shortly after a Mount. Rejects ENGINE_UNREACHABLE. */
  survey(id: string, volumeName: string): Promise<UseGround>
  /**
   * The ground with the containers that were seen since; the very same object when there were none.
   * Call it after a refresh. Rejects ENGINE_UNREACHABLE.
   */
  seenSince(volumeName: string, ground: UseGround): Promise<UseGround>
  /**
   * Whether all uses of a mounted volume have ended although Docker sent fewer Unmounts than Mounts.
   * Call it once per scan, after a refresh, with the ground of `seenSince`. `isMounted`: as the kernel says.
   */
  haveEnded(copy: LocalCopy, ground: UseGround, isMounted: boolean): boolean
  /**
   * A removal waits for the end of the volume's uses and found no reference.
   * A use then needs no container to end.
   */
  removalWaits(id: string): void
}

/** Asks a holder to give a volume up. */
export type SurrenderRequest = Extract<Query, { kind: 'surrender' }>

/** Gives up volumes that nothing on this host uses any more. By volume id. */
export interface Releases {
  /**
   * Unmounts the volume, takes the final checkpoint, and commits it to this disk and the registry.
   * Never rejects: a failure is noted (ReleaseTroubles), the volume stays held, and the reconcile loop calls again.
   * Does nothing while the volume is used, or before its next try is due. `asked`: somebody waits for the volume.
   * May be repeated at any time, also after a crash at any point of it.
   */
  releaseIfUnused(id: string, asked?: boolean): Promise<void>
  /**
   * Replies to a host that asks this one to give a volume up. May be repeated.
   * `release`: retries the release now, and says what keeps it from being done.
   * `tree` and `removal`: unmounts the volume without a release if no container uses it. It is mounted again only after
   * a write that confirms the hold. For `tree` the tree is read as it stands, and may be fetched from here.
   */
  surrender(asked: SurrenderRequest, signal: AbortSignal): Promise<SurrenderReply>
}

/** Why volumes without uses could not be released, and when each release is retried. By volume id. */
export interface ReleaseTroubles {
  /** Notes a failed release that began at `startMs`. */
  note(copy: Pick<LocalCopy, 'id' | 'name'>, error: unknown, startMs: number): void
  /**
   * Notes the copies whose records cannot be read, with the reason.
   * Forgets those that can be read again.
   */
  noteUnreadable(found: ReadonlyMap<string, WherryError>): void
  /** The volume was released, or is used again. */
  clear(id: string): void
  /** Whether a release should be tried now. `asked`: somebody waits for it. */
  isDue(id: string, asked: boolean): boolean
  of(id: string): Trouble | null
  /** For the heartbeat: bounded; those that have lasted longest first. */
  all(): Readonly<Record<string, Trouble>>
}

/** What a holder has promised: the volume is not mounted, and no container has it. */
export interface Surrendered {
  readonly incarnation: string
  /** No release is tried before, on the clock's elapsedMs. */
  untilMs: number
  /** The tree as it was left, which other hosts may read; null: it was not asked for, or cannot be read. */
  readonly final: Checkpoint | null
  /** Why the tree cannot be read. */
  readonly trouble: Trouble | null
}

/** Volumes of Docker's driver `local` on this host that have the name of a volume of ours. */
export interface Namesakes {
  /** At most 100, as of the last scan. */
  readonly names: readonly string[]
  /** A volume of ours was created or has changed: scans at once when the engine has one of its name. */
  note(name: string): void
}
