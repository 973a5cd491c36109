import { codeOf, type WherryError } from '../../model/errors.ts'
import type { Checkpoint, VolumeRecord } from '../../model/model.ts'
import type { StageProgress } from '../../store/tree-contract.ts'
import type { TreeRequest } from '../../transfer/contract.ts'
import type { VolumeLocks, Wakeups } from '../context.ts'
import type { Dependencies } from '../dependencies.ts'
import type { HostDirectory } from '../host-contract.ts'
import { isAt, isLeftBehind, mayHaveCheckpoint } from '../record/copies.ts'
import { announceCopy } from '../record/report-copy.ts'
import type { CopyJob } from './copy-job.ts'
import {
  changedAtRest,
  changedMeanwhile,
  dataUnreachable,
  epochPassed,
  heldHere,
  isHopeless,
  notSetAsideYet,
  sourceFailed,
  unknownHost,
} from './errors.ts'
import { whileHeld } from './while-held.ts'

/** How often the record is read when no wakeup comes; bounds the cost of a lost wakeup on a move. */
const POLL_MS = 300
/** The same while a checkpoint is on its way, which may take hours. */
const FAR_POLL_MS = 2_000
/** For a host to compare its copy; a large one takes longer, and continues. */
const DOUBT_MS = 5_000

/** What a pull needs from outside. */
export type PullDependencies = Pick<
  Dependencies,
  'registry' | 'store' | 'puller' | 'peers' | 'clock' | 'self' | 'log' | 'tally' | 'signal'
>

/**
 * Fetches trees of other hosts.
 * One pull after another for a volume, and an apply once a checkpoint is complete.
 */
export class TreeFetcher {
  readonly #dependencies: PullDependencies
  readonly #hosts: HostDirectory
  readonly #locks: VolumeLocks
  readonly #watching: { readonly dependencies: PullDependencies; readonly wakeups: Wakeups }

  constructor(dependencies: PullDependencies, hosts: HostDirectory, locks: VolumeLocks, wakeups: Wakeups) {
    this.#dependencies = dependencies
    this.#hosts = hosts
    this.#locks = locks
    this.#watching = { dependencies, wakeups }
  }

  /**
   * Tries once to bring a checkpoint here from one host, whatever the record says of it.
   * Returns null when the copy is at the checkpoint, else why not. Rejects when `signal` aborts.
   */
  async bring(
    job: CopyJob,
    record: VolumeRecord,
    checkpoint: Checkpoint,
    source: string,
    signal: AbortSignal,
  ): Promise<Error | null> {
    const { store, log } = this.#dependencies
    const from = this.#hosts.label(source)
    try {
      const local = await store.copy(job.id)
      if (isAt(local, checkpoint)) return null
      const want = { kind: 'checkpoint', hash: checkpoint.hash } as const
      const request = { volume: job.id, epoch: record.epoch, want }
      const known = record.copies[this.#dependencies.self.id] !== undefined
      const work = (until: AbortSignal) => this.#pass(job, source, request, until, known)
      const complete = await whileHeld(this.#watching, record, FAR_POLL_MS, signal, work)
      if (!complete && record.holder?.host === source) return changedMeanwhile(record.name, checkpoint, from)
      if (!complete) return await this.#doubt(record, checkpoint, source)
      return (await this.#apply(record, checkpoint)) ? null : heldHere(record.name)
    } catch (error) {
      if (signal.aborted) throw error
      log.debug({ err: error, volume: job.name, from }, 'checkpoint fetch failed')
      if (codeOf(error) === 'HASH_MISMATCH') return changedMeanwhile(record.name, checkpoint, from)
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  /** Tries all hosts that have the newest checkpoint once. True: the copy here is at it now. */
  async bringNewest(job: CopyJob, record: VolumeRecord, signal: AbortSignal): Promise<boolean> {
    const last = record.last
    if (last === null) return false
    const sources = this.#sourcesOf(record)
    // A host that is away may still be dialled; until that fails, operators should see what is known already.
    if (!sources.some((host) => this.#hosts.alive(host))) job.lastError = dataUnreachable(record, this.#hosts)
    // No host has it by the record, and one found its copy damaged: waiting is no use.
    const damaged = sources.length === 0 ? this.#damagedAt(record) : null
    if (damaged !== null) throw changedAtRest(record, this.#hosts.labelWithAge(damaged.host), [damaged.path])
    let doubted: Error | null = null
    for (const source of sources) {
      try {
        const request: TreeRequest = {
          volume: job.id,
          epoch: record.epoch,
          want: { kind: 'checkpoint', hash: last.hash },
        }
        const complete = await this.#pass(job, source, request, signal)
        if (complete) return await this.#apply(record, last)
        doubted = await this.#doubt(record, last, source)
      } catch (error) {
        if (signal.aborted) throw error
        if (isHopeless(error)) throw error
        if (codeOf(error) === 'HASH_MISMATCH') {
          doubted = await this.#doubt(record, last, source)
          continue
        }
        job.lastError = sourceFailed(record.name, this.#hosts.labelWithAge(source), error)
        this.#dependencies.log.info(
          { err: error, volume: job.name, from: this.#hosts.label(source) },
          'copy source failed',
        )
      }
    }
    // Only when no other source delivers does the doubt keep the data from coming.
    if (doubted !== null) job.lastError = doubted
    return false
  }

  /** Makes a host compare a copy that did not deliver its checkpoint. Returns why the copy was not used. */
  async #doubt(record: VolumeRecord, checkpoint: Checkpoint, source: string): Promise<WherryError> {
    const { peers, clock, log } = this.#dependencies
    const host = this.#hosts.get(source)
    if (host !== undefined) {
      const question = { kind: 'compare', volume: record.id, doubted: true } as const
      const address = { address: host.address, port: host.transferPort }
      await peers.ask(address, question, clock.deadline(DOUBT_MS)).catch((error: unknown) => {
        log.debug({ err: error, volume: record.name }, 'doubt about a copy not delivered')
      })
    }
    const paths = [host?.damaged?.[record.id] ?? []].flat()
    return changedAtRest({ ...record, last: checkpoint }, this.#hosts.labelWithAge(source), paths)
  }

  /** Returns the hosts whose copy has the newest checkpoint, those alive first. */
  #sourcesOf(record: VolumeRecord): string[] {
    const { last } = record
    const holders = Object.entries(record.copies).filter(
      ([host, copy]) => host !== this.#dependencies.self.id && last !== null && mayHaveCheckpoint(copy, last),
    )
    return holders.map(([host]) => host).sort((a, b) => Number(this.#hosts.alive(b)) - Number(this.#hosts.alive(a)))
  }

  /** Returns a host that found its copy damaged, and the first path; null: none did. */
  #damagedAt({ id, copies }: VolumeRecord): { host: string; path: string } | null {
    const found = this.#hosts.all().find((host) => copies[host.id] !== undefined && host.damaged?.[id] !== undefined)
    return found === undefined ? null : { host: found.id, path: found.damaged?.[id] ?? '' }
  }

  /** Pre-seeds what the holder has now; stops at once when the holder releases. Failing costs only time. */
  async sendAhead(job: CopyJob, record: VolumeRecord, signal: AbortSignal): Promise<void> {
    const holder = record.holder
    if (holder === null) return
    const request: TreeRequest = { volume: job.id, epoch: record.epoch, want: { kind: 'live' } }
    try {
      const work = (until: AbortSignal) => this.#pass(job, holder.host, request, until)
      await whileHeld(this.#watching, record, POLL_MS, signal, work)
    } catch (error) {
      if (signal.aborted) throw error
      if (codeOf(error) === 'VOLUME_HELD_ELSEWHERE') return
      this.#dependencies.log.info(
        { err: error, volume: job.name, from: this.#hosts.label(holder.host) },
        'pre-seed failed',
      )
    }
  }

  /** Applies a complete checkpoint. False: the volume is held here by now. */
  async #apply(record: VolumeRecord, checkpoint: Checkpoint): Promise<boolean> {
    const { store } = this.#dependencies
    return await this.#locks.run(record.id, async () => {
      const local = await store.copy(record.id)
      if ((local?.held ?? null) !== null) return false
      if (local?.checkpoint != null && isLeftBehind(record, local.checkpoint)) throw notSetAsideYet(record.name)
      if (local !== null && record.epoch < local.epochSeen) throw epochPassed(record, local.epochSeen)
      await store.apply(record.id, checkpoint)
      return true
    })
  }

  async #pass(job: CopyJob, from: string, request: TreeRequest, signal: AbortSignal, known = false): Promise<boolean> {
    const host = this.#hosts.get(from)
    if (host === undefined) throw unknownHost(from)
    // A host that is in the record already needs no registry to continue.
    if (!known) await announceCopy(this.#dependencies, job.volume)
    const pass = job.startPass(from, this.#hosts.label(from))
    try {
      const address = { address: host.address, port: host.transferPort }
      const tell = (progress: StageProgress) => pass.report(progress)
      const result = await this.#dependencies.puller.pull(address, request, job.volume, signal, tell)
      pass.moved(result.bytes)
      return result.complete
    } finally {
      job.endPass()
      this.#dependencies.tally.moved(job.name, job.lastPassBytes)
    }
  }
}
