import { codeOf } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { LocalCopy } from '../../store/contract.ts'
import type { VolumeLocks, Wakeups } from '../context.ts'
import type { CopyManager, TreeChecks } from '../copy-contract.ts'
import type { Dependencies } from '../dependencies.ts'
import type { HostDirectory } from '../host-contract.ts'
import { isSameTree } from '../record/checkpoint-order.ts'
import { isAt, mayHaveCheckpoint } from '../record/copies.ts'
import { reportCurrent } from '../record/report-copy.ts'
import { readVolume } from '../record/update-record.ts'
import type { MoveView } from '../volume-view.ts'
import { CopyGoal } from './copy-goal.ts'
import { CopyJob } from './copy-job.ts'
import { changedAtRest, isHopeless, nobodyAsked } from './errors.ts'
import { MountWaits } from './mount-waits.ts'
import { type PullDependencies, TreeFetcher } from './pull.ts'
import { whileHeld } from './while-held.ts'

/** How often a job reads the record when no wakeup comes; bounds the cost of a lost wakeup on a move. */
const POLL_MS = 300
/** The same for a catch-up, which nobody waits for. */
const CATCH_UP_POLL_MS = 2_000
/** Between retries of sources that failed. */
const RETRY_MS = 1_000
/** Most ended jobs that are shown. */
const MAX_ENDED_JOBS = 50
/** A pre-seed that moved more than this is worth another one: the holder has written much meanwhile. */
const AHEAD_AGAIN_BYTES = 32 * 1024 * 1024
/** Pre-seeds per job: a tree that changes faster than it can be sent does not get closer after that. */
const MAX_AHEAD_PASSES = 4

type Volume = Pick<VolumeRecord, 'id' | 'name' | 'options'>

/** Brings copies of volumes to this host: one job per volume, which all callers join. */
export class JobCopyManager implements CopyManager {
  readonly #dependencies: PullDependencies & Pick<Dependencies, 'bus'>
  readonly #wakeups: Wakeups
  readonly #pulling: TreeFetcher
  readonly #waits: MountWaits
  readonly #treeChecks: Pick<TreeChecks, 'join'>
  readonly #hosts: HostDirectory
  readonly #jobs = new Map<string, CopyJob>()
  readonly #ended: CopyJob[] = []
  /** How the last job of a volume failed, by its id, oldest first; no entry after one that succeeded. */
  readonly #failures = new Map<string, Error>()

  constructor(
    dependencies: PullDependencies & Pick<Dependencies, 'bus'>,
    hosts: HostDirectory,
    locks: VolumeLocks,
    wakeups: Wakeups,
    checks: Pick<TreeChecks, 'join'>,
  ) {
    this.#dependencies = dependencies
    this.#hosts = hosts
    this.#treeChecks = checks
    this.#wakeups = wakeups
    this.#pulling = new TreeFetcher(dependencies, hosts, locks, wakeups)
    this.#waits = new MountWaits(dependencies)
  }

  /** Follows which Mounts elsewhere wait for data, until the agent stops. */
  follow(): void {
    this.#waits.follow()
  }

  /**
   * Starts bringing the volume's newest checkpoint here, or joins the job that does.
   * The job retries for `wantedMs`, and runs to its end once bytes flow. With 0 it is a catch-up: one try, which
   * gives way to Mounts and ends when the volume is held.
   */
  want(volume: Volume, wantedMs: number): CopyJob {
    return this.#ask(volume, (job) => {
      // A catch-up that gives way continues at once.
      if (wantedMs > 0 && !job.isWanted()) this.#wakeups.wake(volume.name)
      job.follows = true
      job.onlyOffered = false
      job.wantFor(wantedMs)
    })
  }

  /**
   * Brings exactly that checkpoint here from one of those hosts (ids, best first).
   * It is retried for `wantedMs`, whatever the record says. The job ends when the store has applied it; `failure()`
   * says why it was not. May be repeated.
   * Sources are asked with the epoch of `record`: pass the highest that any of them has seen.
   */
  wantCheckpoint(record: VolumeRecord, checkpoint: Checkpoint, sources: readonly string[], wantedMs: number): CopyJob {
    const untilMs = this.#dependencies.clock.elapsedMs() + wantedMs
    return this.#ask(record, (job) => {
      job.onlyOffered = false
      job.wantFor(wantedMs)
      job.addGoal(new CopyGoal(record, checkpoint, sources, untilMs))
    })
  }

  /**
   * Brings a checkpoint of a volume that `from` holds here, or joins what brings it. Resolves when it is applied.
   * Rejects after one try, with the reason that the pull or the apply failed.
   * COPY_RUNNING: blocks changed on the holder before they came. What came stays; the next checkpoint brings the
   * rest.
   */
  bring(record: VolumeRecord, checkpoint: Checkpoint, from: string): Promise<void> {
    let target = new CopyGoal(record, checkpoint, [from], 0)
    this.#ask(record, (job) => {
      target = job.addGoal(target)
    })
    this.#wakeups.wake(record.name)
    return target.reached
  }

  job(id: string): CopyJob | undefined {
    return this.#jobs.get(id)
  }

  /** Why the last try to bring the volume here failed, by volume id; null: it did not. */
  failure(id: string): Error | null {
    return this.#jobs.get(id)?.lastError ?? this.#failures.get(id) ?? null
  }

  /** Running jobs first, then ended ones, newest first. */
  moves(selfLabel: string): MoveView[] {
    const running = [...this.#jobs.values()].filter((job) => job.shown)
    return [...running, ...this.#ended].map((job) => job.view(selfLabel))
  }

  /** Returns the volume's job, started if there is none, after `ask` has told it what is wanted. */
  #ask({ id, name, options }: Volume, ask: (job: CopyJob) => void): CopyJob {
    const running = this.#jobs.get(id)
    const job = running ?? new CopyJob({ id, name, options }, this.#dependencies.clock)
    ask(job)
    if (running !== undefined) return job
    this.#jobs.set(id, job)
    void this.#drive(job, AbortSignal.any([this.#dependencies.signal, job.stopped]))
    return job
  }

  async #drive(job: CopyJob, signal: AbortSignal): Promise<void> {
    let failure: Error | null = null
    try {
      // A goal may have been added in the very last moment.
      do await this.#run(job, signal)
      while (job.target() !== undefined && !signal.aborted)
      failure = job.follows ? null : job.missed
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
    }
    this.#jobs.delete(job.id)
    job.end(failure)
    this.#remember(job.id, failure)
    if (failure !== null && !signal.aborted && !job.onlyOffered) {
      const level = job.isWanted() ? 'warn' : codeOf(failure) === 'VOLUME_HELD_ELSEWHERE' ? 'debug' : 'info'
      this.#dependencies.log[level]({ err: failure, volume: job.name }, 'copy given up')
    }
    if (job.shown && !job.onlyOffered) this.#ended.unshift(job)
    this.#ended.length = Math.min(this.#ended.length, MAX_ENDED_JOBS)
    this.#wakeups.wake(job.name)
  }

  #remember(id: string, failure: Error | null): void {
    this.#failures.delete(id)
    // A pre-seed that nobody wanted in the end is no failure.
    if (failure !== null && codeOf(failure) !== 'VOLUME_HELD_ELSEWHERE') this.#failures.set(id, failure)
    for (const oldest of this.#failures.keys()) {
      if (this.#failures.size <= MAX_ENDED_JOBS) break
      this.#failures.delete(oldest)
    }
  }

  async #run(job: CopyJob, signal: AbortSignal): Promise<void> {
    let aheadPasses = 0
    while (!signal.aborted) {
      const target = job.target()
      if (target !== undefined) {
        await this.#aim(job, target, signal)
        continue
      }
      if (!job.follows) return
      const record = (await readVolume(this.#dependencies, job.name, signal))?.value
      const local = await this.#dependencies.store.copy(job.id)
      if (record === undefined || record.id !== job.id || record.removedAt !== null) return
      if (record.holder?.host === this.#dependencies.self.id || (local?.held ?? null) !== null) return
      if (record.holder === null) {
        if (record.last === null) return
        if (isAt(local, record.last)) return await reportCurrent(this.#dependencies, record)
        if (await this.#isWholeAgain(record, local, signal)) continue
        if (!job.isWanted() && this.#waits.precede(record)) {
          await this.#wakeups.wait(job.name, (until) => this.#dependencies.clock.sleep(POLL_MS, until), signal)
          continue
        }
        if (await this.#bringNewest(job, record, signal)) continue
        await this.#pause(job, record, RETRY_MS, signal)
      } else {
        const again = aheadPasses === 0 || job.lastPassBytes > AHEAD_AGAIN_BYTES
        if (job.isWanted() && again && aheadPasses < MAX_AHEAD_PASSES) {
          aheadPasses++
          await this.#pulling.sendAhead(job, record, signal)
        }
        job.setWaiting()
        await this.#pause(job, record, POLL_MS, signal)
      }
    }
  }

  /**
   * Whether a copy that was found damaged is at the checkpoint after all: a change may have been undone.
   * COPY_DAMAGED if it is not and no other host has that checkpoint.
   */
  async #isWholeAgain(record: VolumeRecord, local: LocalCopy | null, signal: AbortSignal): Promise<boolean> {
    const { last, copies } = record
    const { store, self } = this.#dependencies
    if (last === null || local === null || local.damaged === null || local.applying) return false
    if (!isSameTree(local.checkpoint, last)) return false
    await rejectOnAbort(this.#treeChecks.join(record.id), signal)
    const now = await store.copy(record.id)
    if (isAt(now, last)) return true
    const isElsewhere = Object.entries(copies).some(([host, copy]) => host !== self.id && mayHaveCheckpoint(copy, last))
    if (!isElsewhere) throw changedAtRest(record, this.#hosts.label(self.id), now?.damaged ?? local.damaged)
    return false
  }

  /**
   * Tries once to bring the newest checkpoint. True: read the record again.
   * The copy is at the checkpoint then, or a catch-up gave way to a Mount.
   */
  async #bringNewest(job: CopyJob, record: VolumeRecord, signal: AbortSignal): Promise<boolean> {
    const [ended, stopped] = [new AbortController(), new AbortController()]
    const attending = this.#attend(job, record, stopped, AbortSignal.any([signal, ended.signal]))
    const bring = (until: AbortSignal) => this.#pulling.bringNewest(job, record, until)
    try {
      if (job.isWanted()) return await bring(signal)
      const watching = { dependencies: this.#dependencies, wakeups: this.#wakeups }
      return await whileHeld(watching, record, CATCH_UP_POLL_MS, AbortSignal.any([signal, stopped.signal]), bring)
    } catch (error) {
      if (!signal.aborted && (stopped.signal.aborted || codeOf(error) === 'VOLUME_HELD_ELSEWHERE')) return true
      throw error
    } finally {
      ended.abort()
      await attending
    }
  }

  /** While data comes: announces that a Mount waits for it, or stops the pull for a Mount elsewhere. */
  async #attend(job: CopyJob, record: VolumeRecord, stopped: AbortController, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (job.isWanted()) this.#waits.announce(record)
      else if (this.#waits.precede(record)) return stopped.abort(new Error('a Mount takes precedence'))
      await this.#dependencies.clock.sleep(POLL_MS, signal)
    }
  }

  /** Tries once to bring a goal's checkpoint from its sources. */
  async #aim(job: CopyJob, target: CopyGoal, signal: AbortSignal): Promise<void> {
    const { record, checkpoint } = target
    try {
      for (const source of target.sources) {
        job.missed = await this.#pulling.bring(job, record, checkpoint, source, signal)
        if (job.missed === null) return job.settle(target)
        job.lastError = job.missed
      }
    } catch (error) {
      job.settle(target, error)
      throw error
    }
    if (this.#dependencies.clock.elapsedMs() >= target.untilMs || isHopeless(job.missed)) job.settle(target, job.missed)
    else await this.#wakeups.wait(job.name, (until) => this.#dependencies.clock.sleep(RETRY_MS, until), signal)
  }

  /** Waits for a change of the volume. Throws when nobody has wanted the job for long. */
  async #pause(job: CopyJob, record: VolumeRecord, ms: number, signal: AbortSignal): Promise<void> {
    if (!job.isWanted()) {
      // A kept copy keeps its stage: the next checkpoint that is offered needs less.
      if (record.copies[this.#dependencies.self.id]?.kept !== true) await this.#dependencies.store.dropStage(job.id)
      throw job.lastError ?? nobodyAsked(job.name)
    }
    await this.#wakeups.wait(job.name, (until) => this.#dependencies.clock.sleep(ms, until), signal)
  }
}
