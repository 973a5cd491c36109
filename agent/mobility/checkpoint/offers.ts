import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, CopyRecord, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import type { CopyProgress } from '../copy-contract.ts'
import { hasCheckpoint, withAnswers } from '../record/copies.ts'
import { readCopyAnswer } from '../record/copy-answer.ts'
import { changeVolume, STALE_READ } from '../record/update-record.ts'

/** Copies that are about as quick as the first one to answer are committed in the same write. */
const GRACE_MS = 300
/** A copy that needs longer than this, or than the interval, joins the others with a later checkpoint. */
const PATIENCE_MS = 60_000
/** One attempt to tell the registry; the next checkpoint tells it, too. */
const COMMIT_MS = 10_000

/** A hold whose checkpoints are offered. */
export interface Offered {
  readonly id: string
  readonly name: string
  readonly epoch: number
  readonly incarnation: string
}

type Heard = (host: string, checkpoint: Pick<Checkpoint, 'hash'> | null) => boolean

/** Brings the checkpoints of one hold to the other hosts with copies, and tells the registry who has them. */
export class Offers {
  readonly #core: Context
  readonly #hold: Offered
  /**
   * Told what another host (by id) has on its disk, null: nothing that can be used; false: it is no checkpoint of this
   * hold.
   */
  readonly #heard: Heard
  /** What hosts said they have, until the registry knows it. */
  readonly #answers = new Map<string, Checkpoint>()
  /** One offer per host at a time: a host that still works on an older one is asked again when it is done. */
  readonly #asking = new Map<string, Promise<void>>()
  readonly #failures = new Map<string, string>()
  /** Until when a host counts as alive by its answer to an offer, on the clock's elapsedMs. */
  readonly #livesMs = new Map<string, number>()
  #stop = new AbortController()

  constructor(core: Context, hold: Offered, heard: Heard) {
    this.#core = core
    this.#hold = hold
    this.#heard = heard
  }

  /** Why hosts do not have the newest checkpoint, a line each; empty: those that were asked have it. */
  get failures(): readonly string[] {
    return Array.from(this.#failures, ([host, why]) => `${this.#core.hosts.labelWithAge(host)}: ${why}`)
  }

  /** Why one host does not have the newest checkpoint (null: nothing is known to be wrong), and whether one is on its way there. */
  progress(host: string): CopyProgress {
    return { failure: this.#failures.get(host) ?? null, asking: this.#asking.has(host) }
  }

  /** Whether a host is alive: by its heartbeat or, while the registry is away, by its own answer. */
  lives(host: string): boolean {
    const { hosts, dependencies } = this.#core
    const livesMs = this.#livesMs.get(host) ?? Number.NEGATIVE_INFINITY
    return hosts.alive(host) || (hosts.stale && dependencies.clock.elapsedMs() < livesMs)
  }

  /**
   * Offers the checkpoint to every other host of the record that is not known to have it, and waits for the answers, but for a slow host only
   * until the others are through; then one write. What comes later is written with the next offer. Rejects REGISTRY_UNAVAILABLE (the hosts have it
   * all the same), or the reason of `signal`, with which what is under way ends. Does nothing while the lease is over. May be repeated.
   */
  async offer(record: VolumeRecord, checkpoint: Checkpoint, intervalMs: number, signal: AbortSignal): Promise<void> {
    const hosts = otherHosts(record, this.#core.dependencies.self.id)
    for (const host of this.#failures.keys()) if (!hosts.includes(host)) this.#failures.delete(host)
    const lacking = hosts.filter((host) => !this.#has(record, host, checkpoint))
    for (const host of hosts) if (!lacking.includes(host)) this.#heard(host, checkpoint)
    // From the moment another host has a checkpoint, the volume may be taken over there.
    if (lacking.length > 0) await rejectOnAbort(this.#core.guardedVolumes.expect(this.#hold.id), signal)
    // Under a lease that is over it might be taken over at once, before the watchdog has acted on what it was just told.
    if (!this.#core.lease.runs) return
    // While the registry is away nobody is heard of, and only an answer tells who is there. Nobody waits for these.
    const unheard = this.#core.hosts.stale ? hosts.filter((host) => !lacking.includes(host)) : []
    for (const host of [...lacking, ...unheard])
      if (!this.#asking.has(host)) this.#ask(host, record, checkpoint, intervalMs)
    await rejectOnAbort(this.#answered(lacking, Math.max(intervalMs, PATIENCE_MS)), signal)
    await rejectOnAbort(this.#commit(), signal)
  }

  /** Ends what is asked; the hosts notice for themselves whether what they were getting is still of use. */
  stop(): void {
    this.#stop.abort(new Error('offering ended'))
    this.#stop = new AbortController()
  }

  /** Copies of other hosts may lack something that this one has: they count as behind until they have the next checkpoint. Rejects REGISTRY_UNAVAILABLE; may be repeated. */
  async distrust(): Promise<void> {
    this.#answers.clear()
    await this.#change((record) => {
      const copies = Object.entries(record.copies).map(([host, copy]): [string, CopyRecord] => {
        const counts = host !== this.#core.dependencies.self.id && copy.state === 'current'
        return [host, counts ? { ...copy, state: 'behind' } : copy]
      })
      return { ...record, copies: Object.fromEntries(copies) }
    })
  }

  #has(record: VolumeRecord, host: string, checkpoint: Checkpoint): boolean {
    const entry = record.copies[host]
    return (
      (entry !== undefined && hasCheckpoint(entry, checkpoint)) || this.#answers.get(host)?.hash === checkpoint.hash
    )
  }

  #ask(host: string, record: VolumeRecord, checkpoint: Checkpoint, intervalMs: number): void {
    const { log, signal, clock, leaseMs } = this.#core.dependencies
    const ended = AbortSignal.any([signal, this.#stop.signal])
    const asking = this.#askHost(host, record, checkpoint, ended)
      .then(
        () => {
          this.#failures.delete(host)
          // By then the next offer tells.
          this.#livesMs.set(host, clock.elapsedMs() + Math.max(leaseMs, 2 * intervalMs))
        },
        (error: unknown) => {
          this.#livesMs.delete(host)
          if (ended.aborted) return
          const label = this.#core.hosts.labelWithAge(host)
          const why = error instanceof WherryError ? error.toLine() : String(error)
          // A host that is away for days is news once.
          const level = this.#failures.has(host) ? 'debug' : 'info'
          this.#failures.set(host, why)
          log[level]({ err: error, volume: this.#hold.name, host: label }, 'a copy did not get a checkpoint')
        },
      )
      .finally(() => {
        if (this.#asking.get(host) === asking) this.#asking.delete(host)
      })
    this.#asking.set(host, asking)
  }

  async #askHost(host: string, record: VolumeRecord, checkpoint: Checkpoint, signal: AbortSignal): Promise<void> {
    const { hosts, dependencies } = this.#core
    const known = hosts.get(host)
    if (known === undefined) throw new WherryError('DATA_UNREACHABLE', 'this host has never been heard of')
    const question = { kind: 'offer', record, checkpoint, from: dependencies.self.id } as const
    const address = { address: known.address, port: known.transferPort }
    const said = await rejectOnAbort(dependencies.peers.ask(address, question, signal), signal)
    const answer = readCopyAnswer(said, hosts.label(host))
    const has = answer?.host === host ? answer.checkpoint : null
    // Nothing becomes the volume's last checkpoint that this hold did not take or begin with.
    if (!this.#heard(host, has) || has === null)
      throw new WherryError('NOT_AT_CHECKPOINT', 'it says that it has another state')
    const entry = record.copies[host]
    if (entry === undefined || !hasCheckpoint(entry, has)) this.#answers.set(host, has)
  }

  /** All of them are through, or one is and the others are slower, or patience is over. */
  async #answered(hosts: readonly string[], patienceMs: number): Promise<void> {
    const { clock, signal } = this.#core.dependencies
    const asks = hosts.map((host) => this.#asking.get(host) ?? Promise.resolve())
    const over = new AbortController()
    const until = AbortSignal.any([over.signal, signal])
    const succeeded = asks.map(async (ask, index) => {
      await ask
      if (!this.#answers.has(hosts[index] ?? '')) throw new Error('failed')
    })
    const first = Promise.any(succeeded).then(
      () => clock.sleep(GRACE_MS, until),
      () => undefined,
    )
    await Promise.race([Promise.all(asks), first, clock.sleep(patienceMs, until)])
    over.abort()
  }

  async #commit(): Promise<void> {
    if (this.#answers.size === 0) return
    const { self, clock } = this.#core.dependencies
    const answers = new Map(this.#answers)
    const at = clock.now().toISOString()
    await this.#change((record) => withAnswers(record, self.id, answers, at))
    for (const [host, has] of answers) if (this.#answers.get(host) === has) this.#answers.delete(host)
  }

  /** Changes the record while it says that this hold stands. */
  async #change(change: (record: VolumeRecord) => VolumeRecord): Promise<void> {
    const { dependencies } = this.#core
    const { id, name, epoch, incarnation } = this.#hold
    const changeHeld = (record: VolumeRecord | null) => {
      if (record === null || record.id !== id) return record
      if (record.epoch < epoch) return STALE_READ
      return record.holder?.incarnation === incarnation ? change(record) : record
    }
    await changeVolume(
      dependencies,
      name,
      changeHeld,
      AbortSignal.any([dependencies.signal, dependencies.clock.deadline(COMMIT_MS)]),
    )
  }
}

/** Ids of the other hosts that should have the volume's checkpoints. What is only sent ahead for a move is no copy yet, and no reason to pause anything. */
export function otherHosts(record: VolumeRecord, self: string): string[] {
  const isCopy = ({ state, kept }: CopyRecord) => state !== 'diverged' && (state !== 'filling' || kept)
  return Object.entries(record.copies)
    .filter(([host, copy]) => host !== self && isCopy(copy))
    .map(([host]) => host)
}
