import { WherryError } from '../../model/errors.ts'
import type { Checkpoint, CopyRecord, Trouble, VolumeRecord } from '../../model/model.ts'
import { rejectOnAbort } from '../../runtime/abort.ts'
import type { Context } from '../context.ts'
import type { CopyProgress } from '../copy-contract.ts'
import { parseCopyReply } from '../record/copy-answer.ts'
import { sameTrouble, shortened, troubleOf } from '../trouble.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { Coverage } from './coverage.ts'
import type { CheckpointedHold, CheckpointSink, OfferedCheckpoint } from './sink.ts'

/** How long hosts that are about as fast as the first one to reply may take to get into the same write. */
const GRACE_MS = 300
/** How long to wait for a host, or the interval if that is longer. A slower one joins with a later checkpoint. */
const PATIENCE_MS = 60_000

type HostSinkContext = Pick<Context, 'dependencies' | 'hosts' | 'lease' | 'guardedVolumes'>

/** Offers the checkpoints of one hold to the other hosts with copies, which pull them, and records who has them. */
export class HostSink implements CheckpointSink {
  readonly #context: HostSinkContext
  readonly #hold: CheckpointedHold
  readonly #coverage: Coverage
  readonly #acknowledgements: Acknowledgements
  /** Offers that run, by host id: one each. A host that works on an older checkpoint gets the next one later. */
  readonly #running = new Map<string, Promise<void>>()
  /** Why the last offer failed, by host id. */
  readonly #failures = new Map<string, Trouble>()
  #stop = new AbortController()

  constructor(context: HostSinkContext, hold: CheckpointedHold, coverage: Coverage) {
    this.#context = context
    this.#hold = hold
    this.#coverage = coverage
    this.#acknowledgements = new Acknowledgements(context, hold)
  }

  get failures(): readonly string[] {
    return Array.from(this.#failures, ([host, { text }]) => `${this.#context.hosts.labelWithAge(host)}: ${text}`)
  }

  get trouble(): Trouble | null {
    const [first] = this.#failures
    if (first === undefined) return null
    const [host, { code, text, since }] = first
    return { code, text: shortened(`${this.#context.hosts.label(host)}: ${text}`), since }
  }

  isOpen(record: VolumeRecord): boolean {
    return this.#hostsOf(record).length > 0
  }

  /** How one host gets on with the checkpoints. */
  progress(host: string): CopyProgress {
    return { failure: this.#failures.get(host)?.text ?? null, asking: this.#running.has(host) }
  }

  /**
   * Offers the checkpoint to every other host of the record that lacks it, and writes the replies in one go.
   * Waits for all hosts, but for a slow one only until the others have it: its reply is written with the next offer.
   * Does nothing while the lease has expired. May be repeated.
   * REGISTRY_UNAVAILABLE: the hosts have the checkpoint, and the next offer writes that.
   */
  async offer({ record, checkpoint, intervalMs }: OfferedCheckpoint, signal: AbortSignal): Promise<void> {
    const { guardedVolumes, lease, hosts: directory } = this.#context
    const hosts = this.#hostsOf(record)
    for (const host of this.#failures.keys()) if (!hosts.includes(host)) this.#failures.delete(host)
    const lacking = hosts.filter((host) => !this.#acknowledgements.has(record, host, checkpoint))
    for (const host of hosts) if (!lacking.includes(host)) this.#coverage.learn(host, checkpoint.hash)
    // From the moment that another host has a checkpoint, the volume may be taken over there.
    if (lacking.length > 0) await rejectOnAbort(guardedVolumes.expect(this.#hold.id), signal)
    // Under an expired lease it might be taken over at once, before the watchdog has acted on the guard.
    if (!lease.runs) return
    // While the registry is away, only a reply tells who is alive. Nobody waits for these.
    const unheard = directory.stale ? hosts.filter((host) => !lacking.includes(host)) : []
    for (const host of [...lacking, ...unheard])
      if (!this.#running.has(host)) this.#begin(host, record, checkpoint, intervalMs)
    await rejectOnAbort(this.#replies(lacking, Math.max(intervalMs, PATIENCE_MS)), signal)
    await rejectOnAbort(this.#acknowledgements.commit(), signal)
  }

  distrust(): Promise<void> {
    return this.#acknowledgements.distrust()
  }

  /** Ends the offers that run. The hosts notice by themselves whether what they pull is still of use. */
  stop(): void {
    this.#stop.abort(new Error('offering ended'))
    this.#stop = new AbortController()
  }

  #hostsOf(record: VolumeRecord): string[] {
    return otherHosts(record, this.#context.dependencies.self.id)
  }

  #begin(host: string, record: VolumeRecord, checkpoint: Checkpoint, intervalMs: number): void {
    const { signal, clock, leaseMs } = this.#context.dependencies
    const ended = AbortSignal.any([signal, this.#stop.signal])
    const running = this.#offerTo(host, record, checkpoint, ended)
      .then(
        () => {
          this.#failures.delete(host)
          // By then the next offer has its reply.
          this.#coverage.replied(host, clock.elapsedMs() + Math.max(leaseMs, 2 * intervalMs))
        },
        (error: unknown) => {
          this.#coverage.silent(host)
          if (!ended.aborted) this.#fail(host, error)
        },
      )
      .finally(() => {
        if (this.#running.get(host) === running) this.#running.delete(host)
      })
    this.#running.set(host, running)
  }

  #fail(host: string, error: unknown): void {
    const label = this.#context.hosts.labelWithAge(host)
    // A host may be away for days: only its first failure is news.
    const before = this.#failures.get(host)
    const level = before === undefined ? 'info' : 'debug'
    const { log, clock } = this.#context.dependencies
    this.#failures.set(host, sameTrouble(before, troubleOf(error, clock.now())))
    log[level]({ err: error, volume: this.#hold.name, host: label }, 'checkpoint not delivered to a host')
  }

  async #offerTo(host: string, record: VolumeRecord, checkpoint: Checkpoint, signal: AbortSignal): Promise<void> {
    const { hosts, dependencies } = this.#context
    const known = hosts.get(host)
    if (known === undefined) throw new WherryError('DATA_UNREACHABLE', 'this host has never been heard of')
    const question = { kind: 'offer', record, checkpoint, from: dependencies.self.id } as const
    const address = { address: known.address, port: known.transferPort }
    const reply = await rejectOnAbort(dependencies.peers.ask(address, question, signal), signal)
    const answer = parseCopyReply(reply, hosts.label(host))
    const has = answer?.host === host ? answer.checkpoint : null
    // A checkpoint that this hold neither took nor began with never becomes the volume's last one.
    if (!this.#coverage.learn(host, has?.hash ?? null) || has === null)
      throw new WherryError('NOT_AT_CHECKPOINT', 'it says that it has another checkpoint')
    this.#acknowledgements.add(record, host, has)
  }

  /** Resolves when all hosts have replied, a while after the first has the checkpoint, or after `patienceMs`. */
  async #replies(hosts: readonly string[], patienceMs: number): Promise<void> {
    const { clock, signal } = this.#context.dependencies
    const offers = hosts.map((host) => this.#running.get(host) ?? Promise.resolve())
    const over = new AbortController()
    const until = AbortSignal.any([over.signal, signal])
    const acknowledged = offers.map(async (offer, index) => {
      await offer
      if (!this.#acknowledgements.isPending(hosts[index] ?? '')) throw new Error('failed')
    })
    const first = Promise.any(acknowledged).then(
      () => clock.sleep(GRACE_MS, until),
      () => undefined,
    )
    await Promise.race([Promise.all(offers), first, clock.sleep(patienceMs, until)])
    over.abort()
  }
}

/** Returns the ids of the other hosts that should have the volume's checkpoints. A pre-seeded copy does not count. */
export function otherHosts(record: VolumeRecord, self: string): string[] {
  const isCopy = ({ state, kept }: CopyRecord) => state !== 'diverged' && (state !== 'filling' || kept)
  return Object.entries(record.copies)
    .filter(([host, copy]) => host !== self && isCopy(copy))
    .map(([host]) => host)
}
