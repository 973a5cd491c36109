import type { VirtualClock } from '../../fake/clock.ts'
import { MemoryStore } from '../../fake/memory-store.ts'

/** A store whose rounds take time. */
export class SpoolStore extends MemoryStore {
  readonly rounds: string[] = []
  /** How long each round takes, the last one for all that follow. */
  roundsMs: readonly number[] = [0]
  /** How long `spoolFreeze` and `spoolLast` take. */
  freezeMs = 0
  lastMs = 0
  /** `spoolFreeze` does not notice its signal. */
  deaf = false
  /** Called in each round; the round rejects with what it throws. */
  roundFails: () => Promise<void> = async () => undefined
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    super(clock)
    this.#clock = clock
  }

  override async spoolRound(id: string, signal: AbortSignal) {
    const nth = this.rounds.filter((kind) => kind === 'round').length
    this.rounds.push('round')
    await this.#clock.sleep(this.roundsMs[Math.min(nth, this.roundsMs.length - 1)] ?? 0, new AbortController().signal)
    await this.roundFails()
    return { ...(await super.spoolRound(id, signal)), bytesRead: 100, bytesSpooled: Math.max(1, 100 - nth) }
  }

  override async spoolFreeze(id: string, kind: 'quiet' | 'live', signal: AbortSignal) {
    this.rounds.push(kind)
    const heard = this.deaf ? new AbortController().signal : signal
    await this.#clock.sleep(this.freezeMs, heard)
    heard.throwIfAborted()
    await super.spoolFreeze(id, kind, heard)
  }

  override async spoolLast(id: string, signal: AbortSignal) {
    await this.#clock.sleep(this.lastMs, signal)
    signal.throwIfAborted()
    return await super.spoolLast(id, signal)
  }
}
