import { codeOf, WherryError } from '../errors.ts'
import type { Lanes } from '../lanes.ts'
import type { Checkpoint, VolumeRecord } from '../model.ts'
import type { StageProgress } from '../store/exchange.ts'
import type { TreeRequest } from '../transfer/contract.ts'
import { readVolume } from './commit.ts'
import type { MoveView } from './contract.ts'
import { CopyJob } from './copy-job.ts'
import { announceCopy, reportCurrent } from './copy-record.ts'
import { isAt, isLeftBehind } from './copy-state.ts'
import { CopyTarget } from './copy-target.ts'
import type { HostDirectory, Parts } from './parts.ts'
import type { Wakes } from './wakes.ts'

/** How often a job looks at the record when no wake comes; bounds the cost of a lost wake on a move. */
const LOOK_MS = 300
/** The same while a checkpoint is on its way, which may take hours. */
const FAR_LOOK_MS = 2_000
/** Between tries of sources that failed. */
const RETRY_MS = 1_000
/** Ended jobs are shown this many deep. */
const MAX_ENDED_JOBS = 50
/** A pass ahead that moved more than this is worth another one: the holder has written much meanwhile. */
const AHEAD_AGAIN_BYTES = 32 * 1024 * 1024
/** Passes ahead per job: a tree that changes faster than it can be sent does not get closer after that. */
const MAX_AHEAD_PASSES = 4

type Volume = Pick<VolumeRecord, 'id' | 'name' | 'options'>

/** Brings copies of volumes to this host. One job per volume; whoever wants the volume joins it. */
export class Copying {
  readonly #parts: Parts
  readonly #hosts: HostDirectory
  readonly #locks: Lanes
  readonly #wakes: Wakes
  readonly #jobs = new Map<string, CopyJob>()
  readonly #ended: CopyJob[] = []

  constructor(parts: Parts, hosts: HostDirectory, locks: Lanes, wakes: Wakes) {
    this.#parts = parts
    this.#hosts = hosts
    this.#locks = locks
    this.#wakes = wakes
  }

  /** Starts bringing the volume here, or joins the job that does. It goes on for `wantedMs` without success, and to the end once bytes flow. */
  want(volume: Volume, wantedMs: number): CopyJob {
    return this.#ask(volume, (job) => {
      job.follows = true
      job.onlyOffered = false
      job.wantFor(wantedMs)
    })
  }

  /**
   * Brings exactly that checkpoint here from one of those hosts (ids, best first), whatever the record says; tried again for `wantedMs`. The job ends when the store has applied
   * it; after a failure its `failure()` says why. The epoch of `record` is what the hosts are asked with: the highest any of them has seen. May be repeated: joins.
   */
  wantCheckpoint(record: VolumeRecord, checkpoint: Checkpoint, sources: readonly string[], wantedMs: number): CopyJob {
    const untilMs = this.#parts.clock.elapsedMs() + wantedMs
    return this.#ask(record, (job) => {
      job.onlyOffered = false
      job.wantFor(wantedMs)
      job.aim(new CopyTarget(record, checkpoint, sources, untilMs))
    })
  }

  /**
   * Brings a checkpoint of a volume that is held by `from` here, or joins what brings it. Resolves when it is applied. Rejects after one try: COPY_RUNNING when blocks
   * had changed on the holder before they came (what came stays, the next checkpoint needs only the rest), or what kept the pull or the apply from going through.
   */
  bring(record: VolumeRecord, checkpoint: Checkpoint, from: string): Promise<void> {
    let target = new CopyTarget(record, checkpoint, [from], 0)
    this.#ask(record, (job) => {
      target = job.aim(target)
    })
    this.#wakes.wake(record.name)
    return target.reached
  }

  job(id: string): CopyJob | undefined {
    return this.#jobs.get(id)
  }

  /** Running jobs first, then ended ones, newest first. */
  moves(selfLabel: string): MoveView[] {
    const running = [...this.#jobs.values()].filter((job) => job.shown)
    return [...running, ...this.#ended].map((job) => job.view(selfLabel))
  }

  /** The volume's job, started when there is none, after `ask` has told it what is wanted. */
  #ask({ id, name, options }: Volume, ask: (job: CopyJob) => void): CopyJob {
    const running = this.#jobs.get(id)
    const job = running ?? new CopyJob({ id, name, options }, this.#parts.clock)
    ask(job)
    if (running !== undefined) return job
    this.#jobs.set(id, job)
    void this.#drive(job, AbortSignal.any([this.#parts.signal, job.stopped]))
    return job
  }

  async #drive(job: CopyJob, signal: AbortSignal): Promise<void> {
    let failure: Error | null = null
    try {
      // Something may have been asked for in the very last moment.
      do await this.#run(job, signal)
      while (job.target() !== undefined && !signal.aborted)
      failure = job.follows ? null : job.missed
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error))
    }
    this.#jobs.delete(job.id)
    job.end(failure)
    if (failure !== null && !signal.aborted && !job.onlyOffered) {
      const level = job.wanted() ? 'warn' : 'info'
      this.#parts.log[level]({ err: failure, volume: job.name }, 'copying a volume here was given up')
    }
    if (job.shown && !job.onlyOffered) this.#ended.unshift(job)
    this.#ended.length = Math.min(this.#ended.length, MAX_ENDED_JOBS)
    this.#wakes.wake(job.name)
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
      const record = (await readVolume(this.#parts, job.name, signal))?.value
      const local = await this.#parts.store.copy(job.id)
      if (record === undefined || record.id !== job.id || record.removedAt !== null) return
      if (record.holder?.host === this.#parts.self.id || (local?.held ?? null) !== null) return
      if (record.holder === null) {
        if (record.last === null) return
        if (isAt(local, record.last)) return await reportCurrent(this.#parts, record)
        if (await this.#pullCheckpoint(job, record, signal)) continue
        await this.#pause(job, record, RETRY_MS, signal)
      } else {
        const again = aheadPasses === 0 || job.lastPassBytes > AHEAD_AGAIN_BYTES
        if (job.wanted() && again && aheadPasses < MAX_AHEAD_PASSES) {
          aheadPasses++
          await this.#sendAhead(job, record, signal)
        }
        job.setWaiting()
        await this.#pause(job, record, LOOK_MS, signal)
      }
    }
  }

  /** One try to bring a checkpoint from the hosts that are said to have it. */
  async #aim(job: CopyJob, target: CopyTarget, signal: AbortSignal): Promise<void> {
    const { record, checkpoint } = target
    try {
      for (const source of target.sources) {
        job.missed = await this.#tryTarget(job, record, checkpoint, source, signal)
        if (job.missed === null) return job.settle(target)
        job.lastError = job.missed
      }
    } catch (error) {
      job.settle(target, error)
      throw error
    }
    if (this.#parts.clock.elapsedMs() >= target.untilMs || isHopeless(job.missed)) job.settle(target, job.missed)
    else await this.#wakes.wait(job.name, (until) => this.#parts.clock.sleep(RETRY_MS, until), signal)
  }

  /** Null when the copy is at the checkpoint now, else why not. Rejects when `signal` aborts. */
  async #tryTarget(
    job: CopyJob,
    record: VolumeRecord,
    checkpoint: Checkpoint,
    source: string,
    signal: AbortSignal,
  ): Promise<Error | null> {
    const { store, log } = this.#parts
    const from = this.#hosts.label(source)
    try {
      const local = await store.copy(job.id)
      if (isAt(local, checkpoint)) return null
      const want = { kind: 'checkpoint', hash: checkpoint.hash } as const
      const request = { volume: job.id, epoch: record.epoch, want }
      const known = record.copies[this.#parts.self.id] !== undefined
      const complete = await this.#whileHeld(job, record.holder?.incarnation, FAR_LOOK_MS, signal, (until) =>
        this.#pass(job, source, request, until, known),
      )
      if (!complete) return changedMeanwhile(record, checkpoint, from)
      return (await this.#apply(record, checkpoint)) ? null : heldHere(record)
    } catch (error) {
      if (signal.aborted) throw error
      log.debug({ err: error, volume: job.name, from }, 'a checkpoint was not brought here')
      if (codeOf(error) === 'HASH_MISMATCH') return changedMeanwhile(record, checkpoint, from)
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** False: the volume is held here by now. */
  async #apply(record: VolumeRecord, checkpoint: Checkpoint): Promise<boolean> {
    const { store } = this.#parts
    return await this.#locks.run(record.id, async () => {
      const local = await store.copy(record.id)
      if ((local?.held ?? null) !== null) return false
      if (local?.checkpoint != null && isLeftBehind(record, local.checkpoint)) throw putAsideFirst(record)
      await store.apply(record.id, checkpoint)
      return true
    })
  }

  /** Waits for news of the volume; gives the job up when nobody has wanted it for long. */
  async #pause(job: CopyJob, record: VolumeRecord, ms: number, signal: AbortSignal): Promise<void> {
    if (!job.wanted()) {
      // The next checkpoint that is offered needs less for what came already.
      if (record.copies[this.#parts.self.id]?.kept !== true) await this.#parts.store.dropStage(job.id)
      throw (
        job.lastError ??
        new WherryError('VOLUME_HELD_ELSEWHERE', `Volume "${job.name}" was sent ahead, but nobody asked for it here.`)
      )
    }
    await this.#wakes.wait(job.name, (until) => this.#parts.clock.sleep(ms, until), signal)
  }

  /** One try over all hosts that have the newest checkpoint. True when the copy here is at it now. */
  async #pullCheckpoint(job: CopyJob, record: VolumeRecord, signal: AbortSignal): Promise<boolean> {
    const last = record.last
    if (last === null) return false
    const sources = this.#sourcesOf(record)
    // A host that is away may still be dialled; until that fails, people should hear what is known already.
    if (!sources.some((host) => this.#hosts.alive(host))) job.lastError = dataUnreachable(record, this.#hosts)
    for (const source of sources) {
      try {
        const request: TreeRequest = {
          volume: job.id,
          epoch: record.epoch,
          want: { kind: 'checkpoint', hash: last.hash },
        }
        const complete = await this.#pass(job, source, request, signal)
        if (!complete) continue
        return await this.#apply(record, last)
      } catch (error) {
        if (signal.aborted) throw error
        if (isHopeless(error)) throw error
        job.lastError = unreachable(record, this.#hosts.labelWithAge(source), error)
        this.#parts.log.info(
          { err: error, volume: job.name, from: this.#hosts.label(source) },
          'a source of a copy failed',
        )
      }
    }
    return false
  }

  /** Hosts whose copy has the newest checkpoint, those alive first. */
  #sourcesOf(record: VolumeRecord): string[] {
    const { last } = record
    const holders = Object.entries(record.copies).filter(
      ([host, copy]) =>
        host !== this.#parts.self.id && copy.state === 'current' && copy.epoch === last?.epoch && copy.seq === last.seq,
    )
    return holders.map(([host]) => host).sort((a, b) => Number(this.#hosts.alive(b)) - Number(this.#hosts.alive(a)))
  }

  /** Sends ahead what the holder has now, and stops at once when the holder releases. Failing costs only time. */
  async #sendAhead(job: CopyJob, record: VolumeRecord, signal: AbortSignal): Promise<void> {
    const holder = record.holder
    if (holder === null) return
    const request: TreeRequest = { volume: job.id, epoch: record.epoch, want: { kind: 'live' } }
    try {
      await this.#whileHeld(job, holder.incarnation, LOOK_MS, signal, (until) =>
        this.#pass(job, holder.host, request, until),
      )
    } catch (error) {
      if (signal.aborted) throw error
      if (codeOf(error) === 'VOLUME_HELD_ELSEWHERE') return
      this.#parts.log.info(
        { err: error, volume: job.name, from: this.#hosts.label(holder.host) },
        'sending ahead failed',
      )
    }
  }

  /** Runs `work` until its end, or until the volume is in other hands than those of `incarnation`: then rejects VOLUME_HELD_ELSEWHERE. */
  async #whileHeld<T>(
    job: CopyJob,
    incarnation: string | undefined,
    lookMs: number,
    signal: AbortSignal,
    work: (until: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const ended = new AbortController()
    const moved = new AbortController()
    const until = AbortSignal.any([signal, ended.signal, moved.signal])
    const watching = this.#watchHolder(job, incarnation, lookMs, moved, until)
    try {
      return await work(until)
    } catch (error) {
      if (signal.aborted || !moved.signal.aborted) throw error
      const message = `Volume "${job.name}" changed hands while it was on its way here.`
      throw new WherryError('VOLUME_HELD_ELSEWHERE', message, { hint: 'It goes on from the new state.', cause: error })
    } finally {
      ended.abort()
      await watching
    }
  }

  async #watchHolder(
    job: CopyJob,
    incarnation: string | undefined,
    lookMs: number,
    moved: AbortController,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      await this.#wakes.wait(job.name, (until) => this.#parts.clock.sleep(lookMs, until), signal)
      if (signal.aborted) return
      const record = await this.#parts.registry.volume(job.name).catch(() => undefined)
      if (record === undefined) continue
      if (record?.value.holder?.incarnation !== incarnation) moved.abort()
    }
  }

  async #pass(job: CopyJob, from: string, request: TreeRequest, signal: AbortSignal, known = false): Promise<boolean> {
    const host = this.#hosts.get(from)
    if (host === undefined) {
      throw new WherryError('DATA_UNREACHABLE', `Host ${from} has never been heard of.`, {
        hint: 'Wait until its agent has started once, or check WHERRY_PEERS.',
      })
    }
    // A host that is in the record already needs no registry to go on.
    if (!known) await announceCopy(this.#parts, job.volume)
    const pass = job.startPass(this.#hosts.label(from))
    try {
      const address = { address: host.address, port: host.transferPort }
      const tell = (progress: StageProgress) => pass.report(progress)
      const result = await this.#parts.puller.pull(address, request, job.volume, signal, tell)
      pass.moved(result.bytes)
      return result.complete
    } finally {
      job.endPass()
    }
  }
}

/** Trying again changes nothing until a person does something. */
function isHopeless(error: unknown): boolean {
  return codeOf(error) === 'DISK_FULL' || codeOf(error) === 'TREE_UNSUPPORTED'
}

/** The holder writes on while a copy that is far behind reads its tree: no damage, and the next checkpoint brings what is missing. */
function changedMeanwhile(record: VolumeRecord, { epoch, seq }: Checkpoint, from: string): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    `Checkpoint ${epoch}.${seq} of volume "${record.name}" did not come whole from ${from}: some of its data had changed there before it was read.`,
    { hint: 'The next checkpoint brings what is missing.' },
  )
}

/** Housekeeping does that within seconds (promise 7). */
function putAsideFirst(record: VolumeRecord): WherryError {
  return new WherryError(
    'COPY_RUNNING',
    `The copy of volume "${record.name}" here has writes that the cluster did not go on from; it is put aside before another takes its place.`,
    { hint: 'That happens by itself; start the container again in a moment.' },
  )
}

function heldHere(record: VolumeRecord): WherryError {
  return new WherryError('VOLUME_IN_USE', `Volume "${record.name}" is held on this host.`)
}

function unreachable(record: VolumeRecord, source: string, error: unknown): WherryError {
  const why = error instanceof WherryError ? error.toLine() : String(error)
  return new WherryError(
    'DATA_UNREACHABLE',
    `The newest data of volume "${record.name}" is on ${source}, which did not deliver it: ${why}`,
    { hint: 'The copy is tried again as long as someone asks for the volume.', cause: error },
  )
}

/** Names every host that has the newest data, when none of them can be asked. */
function dataUnreachable(record: VolumeRecord, hosts: HostDirectory): WherryError {
  const holders = Object.entries(record.copies)
    .filter(([, copy]) => copy.state === 'current')
    .map(([host]) => hosts.labelWithAge(host))
  return new WherryError(
    'DATA_UNREACHABLE',
    `No host that can be reached has the newest data of volume "${record.name}" (checkpoint ${record.last?.epoch}.${record.last?.seq}); it is on: ${holders.join(', ') || 'no known host'}.`,
    { hint: 'Bring that host back, then start the container again.' },
  )
}
