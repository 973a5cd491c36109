import { WherryError } from '../../agent/model/errors.ts'
import type { Timeline } from '../fake/timeline.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'

/** A silent peer is given up after this long (agent/transfer: keep-alive and connect time-out are of that order). */
const SILENT_MS = 8_000
const LOOK_MS = 2_000
const CONNECT_MS = 5_000
const RESEND_MS = 500

/** Which host reaches which. Bus, registry and data cross the same network. */
export class Network {
  /** `cuts.has('a b')`: nothing from a arrives at b. */
  readonly #cuts = new Set<string>()
  readonly #timeline: Timeline
  readonly #random: Random
  /** Whether a host has power. */
  readonly #up: (host: string) => boolean
  /** Probability that a message between hosts takes much longer than it should, or its connection breaks. */
  trouble = 0
  /** When the cuts were last healed. */
  healedMs = Number.NEGATIVE_INFINITY
  /** Called after each change of the links. */
  onChange: () => void = () => undefined

  constructor(timeline: Timeline, random: Random, up: (host: string) => boolean) {
    this.#timeline = timeline
    this.#random = random
    this.#up = up
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from} ${to}`)
  }

  heal(): void {
    this.#cuts.clear()
    this.healedMs = this.#timeline.nowMs
    this.onChange()
  }

  get whole(): boolean {
    return this.#cuts.size === 0
  }

  /** Whether a message sent now arrives. */
  way(from: string, to: string): boolean {
    return this.#up(from) && this.#up(to) && (from === to || !this.#cuts.has(`${from} ${to}`))
  }

  /** Whether a connection can be made and kept. */
  linked(a: string, b: string): boolean {
    return this.way(a, b) && this.way(b, a)
  }

  latencyMs(from: string, to: string): number {
    if (from === to) return 0.1
    if (this.#random.hit(this.trouble)) return this.#random.between(20, 2_000)
    return this.#random.between(0.2, 3)
  }

  /**
   * Carries a question of a process to another host. `listener` returns who serves there now, null: nobody. `serve`
   * runs there. Rejects TRANSFER_CUT when the connection is refused, breaks or stays silent.
   */
  ask<T, P extends { readonly process: SimProcess }>(
    from: { host: string; process: SimProcess },
    to: string,
    listener: () => P | null,
    serve: (peer: P, signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error)
      const ended = new AbortController()
      let open = true
      const close = (): boolean => {
        if (!open) return false
        open = false
        signal.removeEventListener('abort', onAbort)
        return true
      }
      const cut = () => {
        if (close()) reject(new WherryError('TRANSFER_CUT', `Host ${to} did not reply.`))
      }
      const onAbort = () => {
        if (!close()) return
        reject(signal.reason as Error)
        this.#timeline.after(this.latencyMs(from.host, to), () => ended.abort())
      }
      signal.addEventListener('abort', onAbort)
      if (!this.linked(from.host, to)) {
        from.process.after(CONNECT_MS, cut)
        return
      }
      if (this.#random.hit(this.trouble / 4)) {
        from.process.after(this.#random.between(10, CONNECT_MS), cut)
      }
      const peer = listener()
      if (peer === null) {
        from.process.after(1, cut)
        return
      }
      const answer = (settle: () => void) =>
        this.#carry(
          to,
          from.host,
          from.process,
          () => open,
          () => {
            if (close()) settle()
          },
        )
      this.#carry(
        from.host,
        to,
        peer.process,
        () => open,
        () => {
          serve(peer, ended.signal).then(
            (value) => answer(() => resolve(value)),
            (error: unknown) => answer(() => reject(asPeerError(error))),
          )
        },
      )
      this.#guard(from, to, peer.process, () => open, cut)
    })
  }

  /** Resends what does not get through, as TCP does, until the connection is given up. */
  #carry(from: string, to: string, process: SimProcess, open: () => boolean, arrive: () => void): void {
    if (!open()) return
    if (this.way(from, to)) process.after(this.latencyMs(from, to), arrive)
    else this.#timeline.after(RESEND_MS, () => this.#carry(from, to, process, open, arrive), true)
  }

  /** Cuts the connection once the peer has died or cannot be reached any more. */
  #guard(
    from: { host: string; process: SimProcess },
    to: string,
    peer: SimProcess,
    open: () => boolean,
    cut: () => void,
  ): void {
    let silentMs = 0
    const look = () => {
      if (!open()) return
      const died = !peer.alive && this.linked(from.host, to)
      silentMs = this.linked(from.host, to) && peer.stuckUntilMs <= this.#timeline.nowMs ? 0 : silentMs + LOOK_MS
      if (died || silentMs >= SILENT_MS) cut()
      else from.process.after(LOOK_MS, look)
    }
    from.process.after(LOOK_MS, look)
  }
}

/** Coded errors cross as they are; others look like a broken connection. */
function asPeerError(error: unknown): WherryError {
  if (error instanceof WherryError) return error
  return new WherryError('TRANSFER_CUT', `The other host failed: ${String(error)}`, { cause: error })
}
