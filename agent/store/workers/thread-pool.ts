import { Worker } from 'node:worker_threads'
import type { Logger } from 'pino'
import { WherryError } from '../../model/errors.ts'
import { type Answer, type Request, unpack } from './message.ts'
import type { Input, Output, TaskName } from './tasks.ts'

/** One task runs and one lies ready, so that a thread does not wait for a busy caller in between. */
const TASKS_PER_THREAD = 2

interface Task {
  readonly request: Request
  readonly given: readonly ArrayBuffer[]
  resolve(output: unknown): void
  reject(error: Error): void
}

interface Thread {
  readonly worker: Worker
  readonly tasks: Map<number, Task>
}

/**
 * Hands tasks to up to `count` worker threads, started when first needed. A thread that ends rejects its tasks (INTERNAL); the
 * next task starts a new one. Idle threads do not keep the process alive. Disposing waits for all tasks.
 */
export class ThreadPool implements AsyncDisposable {
  readonly count: number
  readonly #entry: URL
  readonly #log: Logger | undefined
  readonly #threads = new Set<Thread>()
  readonly #waiting: Task[] = []
  readonly #unsettled = new Set<Promise<unknown>>()
  #lastId = 0
  #disposed: Promise<void> | undefined

  constructor(count: number, entry: URL, log: Logger | undefined) {
    this.count = count
    this.#entry = entry
    this.#log = log
  }

  /** Runs a task; `given` is what is transferred with it and is gone here. */
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
    await Promise.all([...this.#threads].map(({ worker }) => worker.terminate()))
  }

  #handOut(): void {
    for (let task = this.#waiting[0]; task !== undefined; task = this.#waiting[0]) {
      const thread = this.#freeThread()
      if (thread === undefined) return
      this.#waiting.shift()
      this.#post(thread, task)
    }
  }

  /** The one with the least to do; a new one rather than letting a task lie. */
  #freeThread(): Thread | undefined {
    const [least] = [...this.#threads].sort((a, b) => a.tasks.size - b.tasks.size)
    if (least?.tasks.size === 0) return least
    if (this.#threads.size < this.count) return this.#start()
    return least !== undefined && least.tasks.size < TASKS_PER_THREAD ? least : undefined
  }

  #post({ worker, tasks }: Thread, task: Task): void {
    try {
      worker.postMessage(task.request, task.given)
    } catch (error) {
      task.reject(error as Error)
      return
    }
    tasks.set(task.request.id, task)
    worker.ref()
  }

  #start(): Thread {
    // Descriptors come from and go to other threads and the system calls of agent/sys: Node's own list of them would be wrong.
    const worker = new Worker(this.#entry, { name: 'blocks', trackUnmanagedFds: false })
    const thread: Thread = { worker, tasks: new Map() }
    let cause: unknown
    worker.on('message', (answer: Answer) => this.#settle(thread, answer))
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

  #settle({ worker, tasks }: Thread, answer: Answer): void {
    const task = tasks.get(answer.id)
    tasks.delete(answer.id)
    if (tasks.size === 0) worker.unref()
    if ('output' in answer) task?.resolve(answer.output)
    else task?.reject(unpack(answer.failure))
    this.#handOut()
  }

  #bury(thread: Thread, cause: unknown): void {
    this.#threads.delete(thread)
    if (this.#disposed === undefined) this.#log?.warn({ err: cause }, 'a thread of the block pool has died')
    for (const task of thread.tasks.values()) {
      task.reject(new WherryError('INTERNAL', 'A thread that reads and writes data has died.', { cause }))
    }
    this.#handOut()
  }
}
