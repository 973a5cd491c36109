import type { Checkpoint } from '../../model/model.ts'
import type { Clock } from '../../runtime/clock.ts'

/** States of the tree whose times are remembered: hosts answer about the newest ones. */
const MAX_INSTANTS = 16

/** Up to `atMs` (the clock's elapsedMs) nothing had been written that the checkpoint does not have. */
export interface Covered {
  readonly epoch: number
  readonly seq: number
  readonly hash: string
  readonly atMs: number
}

/** Of the checkpoints of one hold: as of when each has the tree, and which of them other hosts have. */
export class Coverage {
  readonly #clock: Clock
  /** By hash, when the tree was last known to be just that; null: nobody knows. */
  readonly #instants = new Map<string, Covered | null>()
  /** By host id: the newest state of the tree that the host is known to have. */
  readonly #hosts = new Map<string, Covered>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The newest state of the tree that one of the hosts that count has; null: none is known. */
  newest(counts: (host: string) => boolean): Covered | null {
    const living = [...this.#hosts].filter(([host]) => counts(host)).map(([, covered]) => covered)
    return living.reduce<Covered | null>((best, one) => (best !== null && best.atMs >= one.atMs ? best : one), null)
  }

  /** The tree was the checkpoint's at `atMs`; null: nobody knows when. */
  remember({ hash, epoch, seq }: Checkpoint, atMs: number | null): void {
    this.#instants.delete(hash)
    this.#instants.set(hash, atMs === null ? null : { epoch, seq, hash, atMs })
    for (const oldest of this.#instants.keys()) {
      if (this.#instants.size <= MAX_INSTANTS) break
      this.#instants.delete(oldest)
    }
  }

  /** A checkpoint that was there before the hold. */
  rememberFormer(checkpoint: Checkpoint): void {
    this.remember(checkpoint, this.#takenMs(checkpoint))
  }

  /** Takes in which checkpoint a host says it has; null: none. False: it is none of this hold's. */
  heard(host: string, hash: string | null): boolean {
    const covered = hash === null ? undefined : this.#instants.get(hash)
    if (covered === undefined) this.#hosts.delete(host)
    else if (covered !== null) this.#hosts.set(host, covered)
    return covered !== undefined
  }

  /** Forgets what all other hosts have. */
  keepOnly(hosts: readonly string[]): void {
    for (const host of this.#hosts.keys()) if (!hosts.includes(host)) this.#hosts.delete(host)
  }

  /** By the wall clock, good enough to show. Null: that was set back since, and tells nothing. */
  #takenMs({ at }: Checkpoint): number | null {
    const ageMs = this.#clock.now().getTime() - Date.parse(at)
    return ageMs < 0 ? null : this.#clock.elapsedMs() - ageMs
  }
}
