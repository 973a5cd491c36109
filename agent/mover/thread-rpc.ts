import { WherryError } from '../model/errors.ts'
import { type CrossingError, packError, unpackError } from '../runtime/thread-error.ts'

/** A `Worker` here, its `parentPort` there. */
export interface Port {
  postMessage(message: unknown): void
  on(event: 'message', listener: (message: Message) => void): unknown
}

/** What can be called by the other side, by name. */
export type Answers = Readonly<Record<string, (...args: never[]) => unknown>>

type Message =
  | { kind: 'call'; id: number; name: string; args: unknown[]; signals: number[]; listeners: number[] }
  | { kind: 'abort'; id: number; reason: CrossingError }
  | { kind: 'news'; id: number; position: number; args: unknown[] }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; error: CrossingError; aborted: boolean }

/** A call that waits for its answer. */
interface Pending {
  readonly args: readonly unknown[]
  readonly settled: Promise<unknown>
  resolve(value: unknown): void
  reject(error: unknown): void
}

/**
 * Calls between two threads, in both directions. Arguments and answers are cloned, except for two kinds of arguments: an
 * AbortSignal aborts on the other side as well, and a function can be called there (it answers nothing, and its calls
 * arrive before the answer). Errors keep class, code, hint, errno and causes. A call ends when the other side has ended
 * it, also after an abort: what it worked on is free then.
 */
export class Line {
  readonly #port: Port
  readonly #answers = new Map<string, (...args: never[]) => unknown>()
  readonly #pending = new Map<number, Pending>()
  /** Calls of the other side that are being answered here. */
  readonly #answering = new Map<number, AbortController>()
  #lastId = 0
  #closed: Error | null = null

  constructor(port: Port, answers: Answers) {
    this.#port = port
    this.answer(answers)
    port.on('message', (message) => this.#take(message))
  }

  /** Adds what the other side may call. */
  answer(answers: Answers): void {
    for (const [name, handler] of Object.entries(answers)) this.#answers.set(name, handler)
  }

  /** Calls the other side. Rejects as its handler does, or with what the line was closed with. */
  async call(name: string, ...args: unknown[]): Promise<unknown> {
    if (this.#closed !== null) throw this.#closed
    const signals = positions(args, (arg) => arg instanceof AbortSignal)
    const listeners = positions(args, (arg) => typeof arg === 'function')
    const held = signals.map((at) => args[at] as AbortSignal)
    for (const signal of held) signal.throwIfAborted()
    const id = ++this.#lastId
    const plain = args.map((arg, at) => (signals.includes(at) || listeners.includes(at) ? null : arg))
    this.#post({ kind: 'call', id, name, args: plain, signals, listeners })
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#pending.set(id, { args, settled: promise, resolve, reject })
    const abort = (event: Event) => this.#abort(id, (event.target as AbortSignal).reason)
    for (const signal of held) signal.addEventListener('abort', abort, { once: true })
    try {
      return await promise
    } finally {
      this.#pending.delete(id)
      for (const signal of held) signal.removeEventListener('abort', abort)
    }
  }

  /** Aborts all calls to the other side and waits for their ends. Calls made meanwhile are let through. */
  async abortAll(reason: Error): Promise<void> {
    const running = [...this.#pending]
    for (const [id] of running) this.#abort(id, reason)
    await Promise.allSettled(running.map(([, { settled }]) => settled))
  }

  /** The other side is gone: all calls reject, now and from now on, and what is being answered here is aborted. */
  close(reason: Error): void {
    this.#closed ??= reason
    for (const pending of this.#pending.values()) pending.reject(reason)
    for (const stop of this.#answering.values()) stop.abort(reason)
  }

  #abort(id: number, reason: unknown): void {
    if (this.#closed === null) this.#post({ kind: 'abort', id, reason: packError(reason) })
  }

  #post(message: Message): void {
    this.#port.postMessage(message)
  }

  #take(message: Message): void {
    if (message.kind === 'call') void this.#answer(message)
    else if (message.kind === 'abort') this.#answering.get(message.id)?.abort(unpackError(message.reason))
    else this.#settle(message)
  }

  #settle(message: Extract<Message, { kind: 'news' | 'answer' | 'failure' }>): void {
    const pending = this.#pending.get(message.id)
    if (pending === undefined) return
    if (message.kind === 'answer') pending.resolve(message.value)
    else if (message.kind === 'failure') pending.reject(abortedBy(pending, message) ?? unpackError(message.error))
    else (pending.args[message.position] as (...args: unknown[]) => void)(...message.args)
  }

  async #answer({ id, name, args, signals, listeners }: Extract<Message, { kind: 'call' }>): Promise<void> {
    const stop = new AbortController()
    for (const at of signals) args[at] = stop.signal
    for (const position of listeners) {
      args[position] = (...news: unknown[]) => this.#post({ kind: 'news', id, position, args: news })
    }
    this.#answering.set(id, stop)
    try {
      const handler = this.#answers.get(name)
      if (handler === undefined) throw new WherryError('INTERNAL', `The other thread knows no call "${name}".`)
      const value = await handler(...(args as never[]))
      this.#post({ kind: 'answer', id, value })
    } catch (error) {
      const aborted = stop.signal.aborted && error === stop.signal.reason
      this.#post({ kind: 'failure', id, error: packError(error), aborted })
    } finally {
      this.#answering.delete(id)
    }
  }
}

function positions(args: readonly unknown[], matches: (arg: unknown) => boolean): number[] {
  return args.flatMap((arg, at) => (matches(arg) ? [at] : []))
}

/** The caller's own reason, the very object, when its abort is what ended the call. */
function abortedBy({ args }: Pending, { aborted }: { aborted: boolean }): unknown {
  const signal = args.find((arg) => arg instanceof AbortSignal && arg.aborted) as AbortSignal | undefined
  return aborted ? signal?.reason : undefined
}
