import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import { WherryError } from '../../model/errors.ts'
import { unpackError } from '../../runtime/thread-error.ts'
import type { TaskReply, TaskRequest } from './message.ts'
import type { Input, Output, TaskName } from './tasks.ts'

/** One task runs and one lies ready, so that a thread does not wait for a busy caller in between. */
const TASKS_PER_THREAD = 2
/** A thread takes 10 to 20 MB. Starting one takes less than 50 ms. */
const KEPT_MS = 30_000

interface Task {
  readonly request: TaskRequest
  readonly given: readonly ArrayBuffer[]
  resolve(output: unknown): void
  reject(error: Error): void
}

interface Thread {
  readonly worker: Worker
  readonly tasks: Map<number, Task>
  /** Runs while it is idle, and then ends it. */
  idle?: NodeJS.Timeout
}

/**
 * Hands tasks to up to `count` worker threads, which start when first needed.
 * Disposing waits for all tasks.
 * A thread that ends rejects its tasks (INTERNAL); the next task starts a new one.
 * Idle threads do not keep the process alive.
 * Own code instead of piscina: that costs 31 to 55 % more CPU per message and 50 to 70 MB more memory (measured).
 */
export class ThreadPool implements AsyncDisposable {
  readonly count: number
  readonly #entry: URL
  readonly #log: Logger | undefined
  readonly #threads = new Set<Thread>()
  readonly #ending = new Set<Promise<unknown>>()
  readonly #waiting: Task[] = []
  readonly #unsettled = new Set<Promise<unknown>>()
  #lastId = 0
  #disposed: Promise<void> | undefined

  constructor(count: number, entry: URL, log: Logger | undefined) {
    this.count = count
    this.#entry = entry
    this.#log = log
  }

  /** Runs a task. The buffers in `given` are transferred with it and are detached here. */
  async run<Name extends TaskName>(
    name: Name,
    input: Input<Name>,
    given: readonly ArrayBuffer[],
  ): Promise<Output<Name>> {
    if (this.#disposed !== undefined) throw new WherryError('INTERNAL', 'The block pool is closed.')
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.#waiting.push({ request: { id: ++this.#lastId, name, input }, given, resolve, reject })
    this.#unsettled.add(promise)
    this.#handOut()
    try {
      return (await promise) as Output<Name>
    } finally {
      this.#unsettled.delete(promise)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#end()
    return this.#disposed
  }

  async #end(): Promise<void> {
    await Promise.allSettled(this.#unsettled)
    await Promise.all([...this.#ending, ...[...this.#threads].map(({ worker }) => worker.terminate())])
  }

  #handOut(): void {
    for (let task = this.#waiting[0]; task !== undefined; task = this.#waiting[0]) {
      const thread = this.#freeThread()
      if (thread === undefined) return
      this.#waiting.shift()
      this.#post(thread, task)
    }
  }

  /** Returns the thread with the fewest tasks; starts a new one rather than let a task wait. */
  #freeThread(): Thread | undefined {
    const [least] = [...this.#threads].sort((a, b) => a.tasks.size - b.tasks.size)
    if (least?.tasks.size === 0) return least
    if (this.#threads.size < this.count) return this.#start()
    return least !== undefined && least.tasks.size < TASKS_PER_THREAD ? least : undefined
  }

  #post(thread: Thread, task: Task): void {
    const { worker, tasks } = thread
    clearTimeout(thread.idle)
    try {
      worker.postMessage(task.request, task.given)
    } catch (error) {
      task.reject(error as Error)
      this.#rest(thread)
      return
    }
    tasks.set(task.request.id, task)
    worker.ref()
  }

  #start(): Thread {
    // Descriptors come from other threads and from the system calls of agent/sys: Node's own list would be wrong.
    const worker = new Worker(this.#entry, { name: 'blocks', trackUnmanagedFds: false })
    const thread: Thread = { worker, tasks: new Map() }
    let cause: unknown
    worker.on('message', (reply: TaskReply) => this.#settle(thread, reply))
    worker.on('messageerror', (error) => {
      cause = error
      void worker.terminate()
    })
    worker.on('error', (error) => {
      cause = error
    })
    worker.on('exit', (code) => this.#bury(thread, cause ?? new Error(`it ended with code ${code}`)))
    this.#threads.add(thread)
    return thread
  }

  #settle(thread: Thread, reply: TaskReply): void {
    const { tasks } = thread
    const task = tasks.get(reply.id)
    tasks.delete(reply.id)
    this.#rest(thread)
    if ('output' in reply) task?.resolve(reply.output)
    else task?.reject(unpackError(reply.error))
    this.#handOut()
  }

  /** Lets a thread without tasks end after a while. */
  #rest(thread: Thread): void {
    if (thread.tasks.size > 0) return
    thread.worker.unref()
    clearTimeout(thread.idle)
    thread.idle = setTimeout(() => this.#endIdle(thread), KEPT_MS).unref()
  }

  #endIdle(thread: Thread): void {
    this.#threads.delete(thread)
    const ending = thread.worker.terminate().finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  #bury(thread: Thread, cause: unknown): void {
    clearTimeout(thread.idle)
    if (!this.#threads.delete(thread)) return
    if (this.#disposed === undefined) this.#log?.warn({ err: cause }, 'block pool thread died')
    for (const task of thread.tasks.values()) {
      task.reject(new WherryError('INTERNAL', 'A thread of the block pool has died.', { cause }))
    }
    this.#handOut()
  }
}
