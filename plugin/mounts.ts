import type { Logger } from 'pino'
import type { AgentApi } from '../agent/api/contract.ts'
import type { EnginePatience } from './engine-patience.ts'
import { retryUntil } from './retry.ts'

/**
 * The agent knows the deadline and replies by then, with the reason. This is time for its reply to arrive;
 * Docker waits 10 s more.
 */
const ANSWER_GRACE_MS = 5_000

/** Longer than a restart of the agent takes. The agent finds what is left by itself: a use without a container. */
const ROLLBACK_DEADLINE_MS = 60_000

interface Parts {
  readonly agent: AgentApi
  readonly deadlineMs: number
  readonly patience: EnginePatience
  readonly log: Logger
  /** Aborts when the plugin stops. */
  readonly signal: AbortSignal
}

/**
 * Mount calls of Docker.
 * Requests for the same volume and id that run at the same time become one call to the agent. dockerd holds the
 * container's lock while it mounts, so a second one can only repeat the first.
 */
export class Mounts {
  readonly #parts: Parts
  readonly #running = new Map<string, MountCall>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Mounts a volume and returns the mountpoint. `delivered` tells later whether the engine got the reply.
   * Rejects with the agent's error, or AGENT_UNAVAILABLE when the agent stayed away until the deadline.
   */
  async mount(name: string, id: string, delivered: Promise<boolean>): Promise<string> {
    const key = JSON.stringify([name, id])
    let call = this.#running.get(key)
    for (; call?.answered; call = this.#running.get(key)) await call.over
    if (call === undefined) {
      call = new MountCall(this.#parts, name, id, () => this.#running.delete(key))
      this.#running.set(key, call)
    }
    call.join(delivered)
    return call.answer
  }
}

/**
 * One mount at the agent, and all requests that wait for it.
 * Docker sends no Unmount for a Mount that failed or whose reply it did not wait for (moby,
 * daemon/volume/mounts/mounts.go, Setup). So a mount whose reply no one got is taken back.
 * When the agent itself failed, nothing is taken back: it counted no use, and an Unmount could remove the use of a
 * running container (`docker cp` mounts with the same id).
 */
class MountCall {
  readonly answer: Promise<string>
  /** Resolves once it is known whether the engine got the reply, and a roll-back is done. */
  readonly over: Promise<void>
  answered = false
  readonly #parts: Parts
  readonly #deliveries: Promise<boolean>[] = []
  #waiting = 0

  constructor(parts: Parts, name: string, id: string, onOver: () => void) {
    this.#parts = parts
    this.answer = this.#mount(name, id)
    this.over = this.#settle(name, id).finally(onOver)
  }

  join(delivered: Promise<boolean>): void {
    this.#waiting += 1
    this.#deliveries.push(delivered)
    void delivered.then(() => {
      this.#waiting -= 1
    })
  }

  async #mount(name: string, id: string): Promise<string> {
    const { patience, deadlineMs } = this.#parts
    const startMs = performance.now()
    try {
      return await this.#mountUntil(patience.deadlineMs(deadlineMs), name, id)
    } catch (error) {
      throw patience.explain(error, deadlineMs, performance.now() - startMs)
    }
  }

  #mountUntil(deadlineMs: number, name: string, id: string): Promise<string> {
    const { agent, signal } = this.#parts
    const limits = { deadlineMs, graceMs: ANSWER_GRACE_MS, worthWaiting: ['AGENT_UNAVAILABLE'] as const, signal }
    return retryUntil(limits, async (now) => {
      if (now.repeated && this.#waiting === 0) throw new Error('The engine gave this Mount up.')
      return (await agent.mount(name, id, { deadlineMs: now.leftMs }, now.signal)).mountpoint
    })
  }

  async #settle(name: string, id: string): Promise<void> {
    const mounted = await this.answer.then(
      () => true,
      () => false,
    )
    this.answered = true
    const delivered = await Promise.all(this.#deliveries)
    if (!mounted || delivered.includes(true)) return
    this.#parts.log.info({ volume: name, mountId: id }, 'engine did not wait for a mount: taking it back')
    await this.#takeBack(name, id)
  }

  async #takeBack(name: string, id: string): Promise<void> {
    const { agent, log, signal } = this.#parts
    const worthWaiting = ['AGENT_UNAVAILABLE', 'REGISTRY_UNAVAILABLE'] as const
    try {
      await retryUntil({ deadlineMs: ROLLBACK_DEADLINE_MS, worthWaiting, signal }, (now) =>
        agent.unmount(name, id, now.signal),
      )
    } catch (error) {
      log.error({ volume: name, mountId: id, err: error }, 'mount that nobody waited for was not taken back')
    }
  }
}
