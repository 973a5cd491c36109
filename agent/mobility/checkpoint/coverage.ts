import type { Checkpoint } from '../../model/model.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { HostDirectory } from '../host-contract.ts'

/** Checkpoints whose times are remembered: hosts reply about the newest ones. */
const MAX_INSTANTS = 16

/** A checkpoint that has everything written up to `atMs` (the clock's elapsedMs). */
export interface Covered {
  readonly epoch: number
  readonly seq: number
  readonly hash: string
  readonly atMs: number
}

/** Which checkpoints of one hold other hosts have, and up to when those have everything that was written. */
export class Coverage {
  readonly #clock: Pick<Clock, 'now' | 'elapsedMs'>
  readonly #directory: Pick<HostDirectory, 'alive' | 'stale'>
  /** By hash: when the tree was last known to be the checkpoint's. Null: unknown. */
  readonly #instants = new Map<string, Covered | null>()
  /** By host id: the newest checkpoint that the host is known to have. */
  readonly #hosts = new Map<string, Covered>()
  /** By host id: until when its last reply counts as a sign of life (the clock's elapsedMs). */
  readonly #repliedUntilMs = new Map<string, number>()

  /** `former`: the checkpoint that the copy had before the hold. */
  constructor(
    clock: Pick<Clock, 'now' | 'elapsedMs'>,
    directory: Pick<HostDirectory, 'alive' | 'stale'>,
    former: Checkpoint | null,
  ) {
    this.#clock = clock
    this.#directory = directory
    if (former !== null) this.remember(former, this.#takenMs(former))
  }

  /** The newest checkpoint that a living host has; null: none is known. */
  get newest(): Covered | null {
    const living = [...this.#hosts].filter(([host]) => this.#lives(host)).map(([, covered]) => covered)
    return living.reduce<Covered | null>((best, one) => (best !== null && best.atMs >= one.atMs ? best : one), null)
  }

  /** Takes in that the tree was the checkpoint's at `atMs`; null: the time is unknown. */
  remember({ hash, epoch, seq }: Checkpoint, atMs: number | null): void {
    this.#instants.delete(hash)
    this.#instants.set(hash, atMs === null ? null : { epoch, seq, hash, atMs })
    for (const oldest of this.#instants.keys()) {
      if (this.#instants.size <= MAX_INSTANTS) break
      this.#instants.delete(oldest)
    }
  }

  /** Takes in the hash of the checkpoint that a host has; null: none. False: it is not one of this hold. */
  learn(host: string, hash: string | null): boolean {
    const covered = hash === null ? undefined : this.#instants.get(hash)
    if (covered === undefined) this.#hosts.delete(host)
    else if (covered !== null) this.#hosts.set(host, covered)
    return covered !== undefined
  }

  /** Takes in that a host replied. While the registry is away, it counts as alive until `untilMs`. */
  replied(host: string, untilMs: number): void {
    this.#repliedUntilMs.set(host, untilMs)
  }

  /** Takes in that a host did not reply. */
  silent(host: string): void {
    this.#repliedUntilMs.delete(host)
  }

  /** Forgets what all other hosts have. */
  keepOnly(hosts: readonly string[]): void {
    for (const host of this.#hosts.keys()) if (!hosts.includes(host)) this.#hosts.delete(host)
  }

  /** Whether a host is alive: by its heartbeat or, while the registry is away, by its own reply. */
  #lives(host: string): boolean {
    if (this.#directory.alive(host)) return true
    const untilMs = this.#repliedUntilMs.get(host) ?? Number.NEGATIVE_INFINITY
    return this.#directory.stale && this.#clock.elapsedMs() < untilMs
  }

  /** When a checkpoint was taken, by the wall clock: good enough to show. Null: that clock was set back since. */
  #takenMs({ at }: Checkpoint): number | null {
    const ageMs = this.#clock.now().getTime() - Date.parse(at)
    return ageMs < 0 ? null : this.#clock.elapsedMs() - ageMs
  }
}
