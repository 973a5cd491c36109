import type { Checkpoint, CoveredCheckpoint, Trouble, VolumeOptions, VolumeRecord } from '../model/model.ts'
import type { Capture } from '../store/contract.ts'
import type { CheckpointView, MoveView } from './volume-view.ts'

/**
 * Brings copies of volumes to this host: one job per volume, which all callers join.
 * Every call may be repeated.
 */
export interface CopyManager {
  /**
   * Starts bringing the volume's newest checkpoint here, or joins the job that does.
   * The job retries for `wantedMs`, and runs to its end once bytes flow.
   * With 0 it is a catch-up: one try, which gives way to Mounts and ends when the volume is held.
   */
  want(volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>, wantedMs: number): RunningCopy
  /**
   * Brings exactly that checkpoint here from one of those hosts (ids, best first).
   * It is retried for `wantedMs`, whatever the record says. The job ends when the store has applied it; `failure()`
   * says why it was not.
   * Sources are asked with the epoch of `record`: pass the highest that any of them has seen.
   */
  wantCheckpoint(
    record: VolumeRecord,
    checkpoint: Checkpoint,
    sources: readonly string[],
    wantedMs: number,
  ): RunningCopy
  /**
   * Brings a checkpoint of a volume that `from` holds here, or joins what brings it. Resolves when it is applied.
   * Rejects after one try, with the reason that the pull or the apply failed.
   * COPY_RUNNING: blocks changed on the holder before they came. What came stays; the next checkpoint brings the rest.
   */
  bring(record: VolumeRecord, checkpoint: Checkpoint, from: string): Promise<void>
  /** The job that runs for a volume id. */
  job(id: string): RunningCopy | undefined
  /** Why the last try to bring the volume here failed, by volume id; null: it did not. */
  failure(id: string): Error | null
  /** Running jobs first, then ended ones, newest first. */
  moves(selfLabel: string): MoveView[]
}

/** A job that brings one volume here. */
export interface RunningCopy {
  /** The volume's id. */
  readonly id: string
  /** The volume's name. */
  readonly name: string
  /** Id of the host that was asked for data last; null: none was. */
  readonly source: string | null
  /** Resolves when the job has ended, whatever came of it. */
  readonly done: Promise<void>
  /** Why the newest try failed; null: it did not. */
  readonly lastError: Error | null
  /** Why the job ended without the data; null while it runs and after success. */
  failure(): Error | null
  /** Ends the job, because its volume was removed. `failure()` says so (VOLUME_BUSY). */
  stop(): void
  /** As the API shows it. `to`: this host's label. */
  view(to: string): MoveView
}

/** Brings this host's copies of idle volumes to their newest checkpoint, in the background. */
export interface CatchUp {
  /** Compares the copy of a volume, by name, with its record soon; costs one read. May be repeated. */
  note(name: string): void
  /** Tries again at once what failed before: an operator has come. May be repeated. */
  retry(name: string): void
  /** Notes all volumes of which this disk has a copy that is not held: finds what wakeups have missed. */
  sweep(): Promise<void>
}

/** Reads trees that nobody writes to: one scan per volume, which all callers join. By volume id. */
export interface TreeChecks {
  /**
   * Captures the tree, or joins the capture that runs. It continues when the caller stops waiting.
   * Rejects as `Store.capture`.
   */
  join(id: string): Promise<Capture>
  /** As `join`, or the result of a long capture that has just ended, if it found the tree with this hash. */
  joinLately(id: string, hash: string | null): Promise<Capture>
  /** Runs `work`, which reads a copy again byte by byte; meanwhile `isVerified` is true. */
  verify<T>(id: string, work: () => Promise<T>): Promise<T>
  /** Whether a copy is being read again. A capture of its tree would end that. */
  isVerified(id: string): boolean
  /** Whether another host's doubt justifies reading the whole copy now. True counts as a read. */
  mayVerify(id: string): boolean
}

/** Takes checkpoints of the volumes that containers use on this host, by volume id. */
export interface CheckpointScheduler {
  /**
   * Ends what runs for a volume, before a release or a fence.
   * On return its containers run, unless something else paused them, and nothing of a checkpoint touches the tree.
   * Never rejects. May be repeated.
   * First add the volume to `releasing` or drop it from `confirmed`: then no other checkpoint begins.
   */
  stop(id: string): Promise<void>
  view(id: string, options: VolumeOptions): CheckpointView
  /** How another host gets on with the checkpoints; null: the volume is not in use here. */
  progress(id: string, host: string): CopyProgress | null
  /**
   * Up to when another host has everything that was written, and which checkpoint has it. Null: not known.
   * Later than the checkpoint's own time when nothing has changed since. ISO 8601, by this host's clock.
   */
  covered(id: string): CoveredCheckpoint | null
  /** Why other hosts lack the newest checkpoint of a volume that is held here; null: nothing is known. */
  trouble(id: string): Trouble | null
  /** For the heartbeat: those troubles by volume id, bounded; those that have lasted longest first. */
  late(): Readonly<Record<string, Trouble>>
}

/** How a host gets on with the checkpoints it is offered. */
export interface CopyProgress {
  /** Why it does not have the newest one; null: nothing is known to be wrong. */
  readonly failure: string | null
  /** One is on its way there. */
  readonly asking: boolean
}

/** Captures of live trees for pre-seeding. They give way to releases and checkpoints. By volume id. */
export interface LiveCaptures {
  /** Runs a capture that ends early when `end` is called for the volume. Resolves and rejects as it does. */
  run<T>(id: string, signal: AbortSignal, capture: (signal: AbortSignal) => Promise<T>): Promise<T>
  /**
   * Ends all captures of the volume; resolves when none touches the tree.
   * Never rejects. May be repeated.
   */
  end(id: string): Promise<void>
}

/** What placement has to judge at its next scan. */
export interface PlacementDue {
  /** Names of volumes whose records have changed since the last scan. */
  readonly changed: Set<string>
  /** When every volume is judged again, on the clock's elapsedMs. */
  sweepMs: number
}
