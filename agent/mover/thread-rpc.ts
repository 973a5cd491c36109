import { WherryError } from '../model/errors.ts'
import { type PackedError, packError, unpackError } from '../runtime/thread-error.ts'

/** A `Worker` on one side, its `parentPort` on the other. */
export interface Port {
  postMessage(message: unknown): void
  on(event: 'message', listener: (message: Message) => void): unknown
}

/** The calls that the other side may make, by name. */
export type Answers = Readonly<Record<string, (...args: never[]) => unknown>>

type Message =
  | { kind: 'call'; id: number; name: string; args: unknown[]; signals: number[]; listeners: number[] }
  | { kind: 'abort'; id: number; reason: PackedError }
  | { kind: 'news'; id: number; position: number; args: unknown[] }
  | { kind: 'answer'; id: number; value: unknown }
  | { kind: 'failure'; id: number; error: PackedError; aborted: boolean }

/** A call that waits for its result. */
interface Pending {
  readonly args: readonly unknown[]
  readonly settled: Promise<unknown>
  resolve(value: unknown): void
  reject(error: unknown): void
}

/**
 * Calls between two threads, in both directions.
 * Arguments and results are cloned, except two kinds of arguments. An AbortSignal also aborts on the other side.
 * A function can be called from there: it returns nothing, and its calls arrive before the result.
 * Errors keep class, code, hint, errno and causes.
 * A call ends when the other side has ended it, also after an abort: its resources are free then.
 */
export class Line {
  readonly #port: Port
  readonly #answers = new Map<string, (...args: never[]) => unknown>()
  readonly #pending = new Map<number, Pending>()
  /** Calls of the other side that are running here. */
  readonly #answering = new Map<number, AbortController>()
  #lastId = 0
  #closed: Error | null = null

  constructor(port: Port, answers: Answers) {
    this.#port = port
    this.answer(answers)
    port.on('message', (message) => this.#take(message))
  }

  /** Adds calls that the other side may make. */
  answer(answers: Answers): void {
    for (const [name, handler] of Object.entries(answers)) this.#answers.set(name, handler)
  }

  /** Calls the other side. Rejects as its handler does, or with the reason given to `close`. */
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

  /** Aborts all calls to the other side and waits for their ends. New calls are let through meanwhile. */
  async abortAll(reason: Error): Promise<void> {
    const running = [...this.#pending]
    for (const [id] of running) this.#abort(id, reason)
    await Promise.allSettled(running.map(([, { settled }]) => settled))
  }

  /** Ends everything when the other side is gone: calls reject now and later, and calls running here are aborted. */
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

/** Returns the caller's own reason, the very object, when its abort ended the call. */
function abortedBy({ args }: Pending, { aborted }: { aborted: boolean }): unknown {
  const signal = args.find((arg) => arg instanceof AbortSignal && arg.aborted) as AbortSignal | undefined
  return aborted ? signal?.reason : undefined
}
