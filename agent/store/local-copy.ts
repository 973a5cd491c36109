import type { ErrorCode } from '../model/errors.ts'
import type { Checkpoint, VolumeOptions } from '../model/model.ts'

/** What this disk knows of its copy of one volume (`volume.json`). */
export interface LocalCopy {
  readonly id: string
  readonly name: string
  readonly options: VolumeOptions
  /** The checkpoint that the tree was at last; null: never captured (a new volume's tree). */
  readonly checkpoint: Checkpoint | null
  /** Epoch and incarnation of the hold while this host holds the volume: the tree is then newer than `checkpoint`. */
  readonly held: { readonly epoch: number; readonly incarnation: string } | null
  /** True while an apply is unfinished: the tree is mixed and must not be mounted or sent. */
  readonly applying: boolean
  /**
   * Paths (the first few, printable) where an idle copy's tree differs from its checkpoint.
   * Null: none known.
   * Found by `verify` or by a quiet capture.
   * Such a copy is neither mounted nor sent until an apply repairs it or another scan finds it whole.
   */
  readonly damaged: readonly string[] | null
  /** Highest epoch ever seen for the volume on this host; never goes down. */
  readonly epochSeen: number
  /**
   * Trees set aside because their writes never reached the cluster; newest last.
   * Only an operator removes them, by removing the directory.
   */
  readonly diverged: readonly DivergedTree[]
  /** Ids that Docker mounted the volume with and has not unmounted, with how many times each. */
  readonly mounts: Readonly<Record<string, number>>
  /** What else is known of these uses. */
  readonly uses: UseMarks
  /** What the registry's record of the volume said when this host read it last; null: not noted yet. */
  readonly recordSeen: RecordMark | null
}

/**
 * What a disk has noted of a volume's record in the registry.
 * Only what this host has read or written there itself is noted, never what another host says.
 */
export interface RecordMark {
  readonly epoch: number
  /** Null: the volume was idle. */
  readonly holder: { readonly host: string; readonly incarnation: string } | null
  /** The newest checkpoint by then; null: there was none. Of a volume in use it may be older. */
  readonly last: { readonly epoch: number; readonly seq: number; readonly hash: string } | null
}

/** Serves to find uses that have ended without an Unmount, even if the agent was restarted meanwhile. */
export interface UseMarks {
  /** When Docker unmounted, on the clock's elapsedMs: since the newest Mount, and shortly before it. */
  readonly unmountsMs: readonly number[]
  /** Null: not read since the newest Mount. */
  readonly ground: UseGround | null
}

/** The containers of a volume right after its newest Mount, and those that were seen running since. */
export interface UseGround {
  /**
   * When each had last stopped (ms since 1970), by id: another value later means that it has run since.
   * Values are only compared for equality, because clocks may be stepped.
   */
  readonly ends: Readonly<Record<string, number | null>>
  /** Ids of those that were running then. */
  readonly live: readonly string[]
  /** Ids of others that were seen running since, or to have run. */
  readonly since: readonly string[]
}

/** A tree under `diverged/` of a copy's directory. */
export interface DivergedTree {
  /** Name of its directory there. */
  readonly name: string
  /** The epoch it was written in. */
  readonly epoch: number
  /** The checkpoint it is based on; null: none. */
  readonly base: { readonly epoch: number; readonly seq: number } | null
  /** ISO 8601, when it was set aside. */
  readonly at: string
  /** Sum of the sizes of its regular files; null: not known. */
  readonly bytes: number | null
}

/** A copy of a removed volume, or a surplus copy, that still lies on this disk. */
export interface RemovedCopy {
  readonly id: string
  readonly name: string
  /** Below the state directory. */
  readonly directory: string
  /**
   * ISO 8601: by this host's clock and uptime it is not deleted before.
   * Null: it was set aside, and stays until an operator deletes it.
   */
  readonly until: string | null
}

/** A copy whose `volume.json` cannot be understood. */
export interface DamagedCopy {
  readonly path: string
  readonly reason: string
  /** VERSION_SKEW: a newer version wrote it. Missing: COPY_DAMAGED. */
  readonly code?: ErrorCode | undefined
  /** Of the volume, if that can be read all the same. */
  readonly name?: string | undefined
}
