import type { VolumeUser } from '../../agent/docker/contract.ts'
import type { Freeze, FreezeEnd, Freezes } from '../../agent/fence/contract.ts'
import type { VirtualClock } from './clock.ts'

/**
 * Freezes of one host's containers, as the plugin's process makes them. Paused containers are only watched; the budget
 * is kept. The simulator needs no such double: there the real freezer works on simulated control groups.
 */
export class MemoryFreezes implements Freezes {
  /** Containers that are frozen now. */
  frozen: readonly string[] = []
  readonly log: string[] = []
  /** Set: no freeze succeeds. */
  error: Error | null = null
  readonly #clock: VirtualClock
  readonly #users: () => readonly VolumeUser[]
  #cut: (why: FreezeEnd['why']) => void = () => {}

  constructor(clock: VirtualClock, users: () => readonly VolumeUser[]) {
    this.#clock = clock
    this.#users = users
  }

  /** Ends the freeze for a reason that is not the agent's. */
  cut(why: FreezeEnd['why']): void {
    this.#cut(why)
  }

  async freeze(containers: readonly string[], budgetMs: number, signal: AbortSignal): Promise<Freeze> {
    signal.throwIfAborted()
    if (this.error !== null) throw this.error
    this.#cut('replaced')
    const startMs = this.#clock.elapsedMs()
    const cut = new AbortController()
    const ended = Promise.withResolvers<FreezeEnd>()
    const ours = containers.filter((id) => this.#users().find((user) => user.id === id)?.state === 'running')
    let isOver = false
    const finish = (why: FreezeEnd['why']) => {
      if (isOver) return
      isOver = true
      this.frozen = []
      for (const container of ours) this.log.push(`thaw ${container}`)
      ended.resolve({ id: '', why, frozenMs: this.#clock.elapsedMs() - startMs })
      cut.abort(new Error('cut'))
    }
    this.#cut = finish
    this.frozen = ours
    for (const container of ours) this.log.push(`freeze ${container}`)
    this.#clock.deadline(budgetMs).addEventListener('abort', () => finish('budget'))
    const end = () => {
      finish(null)
      return ended.promise
    }
    return { cut: cut.signal, end }
  }
}
