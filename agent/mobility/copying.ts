import { codeOf, WherryError } from '../errors.ts'
import type { Lanes } from '../lanes.ts'
import type { VolumeRecord } from '../model.ts'
import type { StageProgress } from '../store/exchange.ts'
import type { TreeRequest } from '../transfer/contract.ts'
import { readVolume } from './commit.ts'
import type { MoveView } from './contract.ts'
import { CopyJob } from './copy-job.ts'
import { announceCopy, reportCurrent } from './copy-record.ts'
import { isAt } from './copy-state.ts'
import type { HostDirectory, Parts } from './parts.ts'
import type { Wakes } from './wakes.ts'

/** How often a job looks at the record when no wake comes; bounds the cost of a lost wake on a move. */
const LOOK_MS = 300
/** Between tries of sources that failed. */
const RETRY_MS = 1_000
/** Ended jobs are shown this many deep. */
const MAX_ENDED_JOBS = 50
/** A pass ahead that moved more than this is worth another one: the holder has written much meanwhile. */
const AHEAD_AGAIN_BYTES = 32 * 1024 * 1024
/** Passes ahead per job: a tree that changes faster than it can be sent does not get closer after that. */
const MAX_AHEAD_PASSES = 4

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
  want(volume: Pick<VolumeRecord, 'id' | 'name' | 'options'>, wantedMs: number): CopyJob {
    const running = this.#jobs.get(volume.id)
    if (running !== undefined) {
      running.wantFor(wantedMs)
      return running
    }
    const { id, name, options } = volume
    const job = new CopyJob({ id, name, options }, this.#parts.clock, wantedMs)
    this.#jobs.set(volume.id, job)
    const signal = AbortSignal.any([this.#parts.signal, job.stopped])
    void this.#run(job, signal)
      .then(
        () => job.end(null),
        (error: unknown) => {
          job.end(error instanceof Error ? error : new Error(String(error)))
          if (signal.aborted) return
          const level = job.wanted() ? 'warn' : 'info'
          this.#parts.log[level]({ err: error, volume: name }, 'copying a volume here was given up')
        },
      )
      .finally(() => {
        this.#jobs.delete(volume.id)
        if (job.shown) this.#ended.unshift(job)
        this.#ended.length = Math.min(this.#ended.length, MAX_ENDED_JOBS)
        this.#wakes.wake(volume.name)
      })
    return job
  }

  job(id: string): CopyJob | undefined {
    return this.#jobs.get(id)
  }

  /** Running jobs first, then ended ones, newest first. */
  moves(selfLabel: string): MoveView[] {
    const running = [...this.#jobs.values()].filter((job) => job.shown)
    return [...running, ...this.#ended].map((job) => job.view(selfLabel))
  }

  async #run(job: CopyJob, signal: AbortSignal): Promise<void> {
    let aheadPasses = 0
    while (!signal.aborted) {
      const record = (await readVolume(this.#parts, job.name, signal))?.value
      const local = await this.#parts.store.copy(job.id)
      if (record === undefined || record.id !== job.id || record.removedAt !== null) return
      if (record.holder?.host === this.#parts.self.id || (local?.held ?? null) !== null) return
      if (record.holder === null) {
        if (record.last === null) return
        if (isAt(local, record.last)) return await reportCurrent(this.#parts, record)
        if (await this.#pullCheckpoint(job, record, signal)) continue
        await this.#pause(job, RETRY_MS, signal)
      } else {
        const again = aheadPasses === 0 || job.lastPassBytes > AHEAD_AGAIN_BYTES
        if (again && aheadPasses < MAX_AHEAD_PASSES) {
          aheadPasses++
          await this.#sendAhead(job, record, signal)
        }
        job.setWaiting()
        await this.#pause(job, LOOK_MS, signal)
      }
    }
  }

  /** Waits for news of the volume; gives the job up when nobody has wanted it for long. */
  async #pause(job: CopyJob, ms: number, signal: AbortSignal): Promise<void> {
    if (!job.wanted()) {
      await this.#parts.store.dropStage(job.id)
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
        return await this.#locks.run(job.id, async () => {
          if (((await this.#parts.store.copy(job.id))?.held ?? null) !== null) return false
          await this.#parts.store.apply(job.id, last)
          return true
        })
      } catch (error) {
        if (signal.aborted) throw error
        if (codeOf(error) === 'DISK_FULL' || codeOf(error) === 'TREE_UNSUPPORTED') throw error
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
    const ended = new AbortController()
    const both = AbortSignal.any([signal, ended.signal])
    const watching = this.#abortOnRelease(job, holder.incarnation, ended, both)
    try {
      await this.#pass(job, holder.host, { volume: job.id, epoch: record.epoch, want: { kind: 'live' } }, both)
    } catch (error) {
      if (signal.aborted) throw error
      if (!ended.signal.aborted) {
        this.#parts.log.info(
          { err: error, volume: job.name, from: this.#hosts.label(holder.host) },
          'sending ahead failed',
        )
      }
    } finally {
      ended.abort()
      await watching
    }
  }

  async #abortOnRelease(job: CopyJob, incarnation: string, ended: AbortController, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#wakes.wait(job.name, (until) => this.#parts.clock.sleep(LOOK_MS, until), signal)
      if (signal.aborted) return
      const record = await this.#parts.registry.volume(job.name).catch(() => undefined)
      if (record === undefined) continue
      if (record?.value.holder?.incarnation !== incarnation) ended.abort()
    }
  }

  async #pass(job: CopyJob, from: string, request: TreeRequest, signal: AbortSignal): Promise<boolean> {
    const host = this.#hosts.get(from)
    if (host === undefined) {
      throw new WherryError('DATA_UNREACHABLE', `Host ${from} has never been heard of.`, {
        hint: 'Wait until its agent has started once, or check WHERRY_PEERS.',
      })
    }
    await announceCopy(this.#parts, job.volume)
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
