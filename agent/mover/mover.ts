import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { WherryError } from '../model/errors.ts'
import type { Store } from '../store/contract.ts'
import { BindMounts, openMountRoot } from '../store/disk/bind-mounts.ts'
import { layoutOf } from '../store/disk/layout.ts'
import type { Peers, QueryHandler, TreeChooser, VolumePuller } from '../transfer/contract.ts'
import { type MoverOptions, remotePuller, remoteStore } from './store-proxy.ts'
import { Line } from './thread-rpc.ts'

export type { MoverOptions }

/**
 * How long a shutdown waits for what cannot be aborted (an apply).
 * The plugin kills the agent 8 s after SIGTERM, and other parts need some of that.
 * At the next start `recover` finishes or drops what was cut off.
 */
const CLOSE_LIMIT_MS = 4_000

/**
 * Store and transfer in a thread of their own.
 * They wait for disks, hash and encrypt, which must not delay the thread that serves Docker and renews the lease.
 * Disposing aborts running work, waits for it and ends the thread.
 */
export interface Mover extends AsyncDisposable {
  readonly store: Store
  readonly puller: VolumePuller
  readonly peers: Peers
  /**
   * Serves other hosts until disposed: `choose` decides which tree they get, `answer` replies to their queries.
   * Both are called in this thread, with a signal that aborts when the asking host is gone. Port 0 picks a free one.
   * Rejects SETTING_INVALID when it cannot listen there.
   */
  serve(options: {
    host: string
    port: number
    choose: TreeChooser
    answer: QueryHandler
  }): Promise<{ readonly port: number } & AsyncDisposable>
  /** Aborts with the reason when the thread has died. All calls reject with it then; only a new process helps. */
  readonly died: AbortSignal
}

/**
 * Starts the thread, and opens the state directory and the certificates in it.
 * Rejects CERTIFICATE_INVALID, or STATE_LOCKED while another process has the directory.
 * Call `store.recover` before anything else. `entry` is for tests.
 */
export async function openMover(
  options: MoverOptions,
  entry: URL = new URL(import.meta.resolve('#mover-worker')),
): Promise<Mover> {
  const mountRoot = await openMountRoot(options.mountRoot)
  const mover = new ThreadMover(options, new BindMounts(mountRoot), entry)
  try {
    await mover.open()
  } catch (error) {
    await mover.terminate()
    throw error
  }
  return mover
}

class ThreadMover implements Mover {
  readonly store: Store
  readonly puller: VolumePuller
  readonly peers: Peers
  readonly #options: MoverOptions
  readonly #worker: Worker
  readonly #line: Line
  readonly #died = new AbortController()
  #decisions: { readonly choose: TreeChooser; readonly answer: QueryHandler } | undefined
  #closing: Promise<void> | undefined
  #late: Promise<void> | undefined
  #ended = false

  constructor(options: MoverOptions, mounting: BindMounts, entry: URL) {
    this.#options = options
    this.#worker = new Worker(entry, { name: 'mover', trackUnmanagedFds: false })
    this.#line = new Line(this.#worker, {
      choose: (...args: Parameters<TreeChooser>) => this.#decide().choose(...args),
      answer: (...args: Parameters<QueryHandler>) => this.#decide().answer(...args),
    })
    this.#worker.on('error', (error) => this.#end(error as Error))
    this.#worker.on('messageerror', (error) => this.#end(error as Error))
    this.#worker.on('exit', (code) => this.#end(new Error(`it ended with code ${code}`)))
    this.store = {
      ...remoteStore(this.#line),
      mountpoint: (id) => mounting.mountpoint(layoutOf(options.stateDir, id).id),
      mounted: () => mounting.mounted(),
    }
    this.puller = remotePuller(this.#line)
    this.peers = { ask: (...args) => this.#line.call('ask', ...args) }
  }

  get died(): AbortSignal {
    return this.#died.signal
  }

  async open(): Promise<void> {
    await this.#line.call('open', this.#options)
  }

  async serve({ host, port, choose, answer }: Parameters<Mover['serve']>[0]): ReturnType<Mover['serve']> {
    this.#decisions = { choose, answer }
    const bound = (await this.#line.call('serve', host, port)) as number
    return { port: bound, [Symbol.asyncDispose]: () => this.#inTime(this.#stopServing()) }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async terminate(): Promise<void> {
    this.#closing ??= Promise.resolve()
    await this.#worker.terminate()
  }

  async #close(): Promise<void> {
    try {
      await this.#inTime(this.#wind())
    } finally {
      await this.#worker.terminate()
    }
  }

  /** Waits for a step of the shutdown; all steps share one limit. */
  async #inTime(step: Promise<void>): Promise<void> {
    this.#late ??= sleep(CLOSE_LIMIT_MS, undefined, { ref: false })
    await Promise.race([step, this.#late])
  }

  /** Shuts down from the outside in: cuts off other hosts, aborts running work, releases the state directory. */
  async #wind(): Promise<void> {
    if (this.#ended) return
    await this.#stopServing()
    await this.#line.abortAll(new WherryError('INTERNAL', 'The agent shuts down.'))
    await this.#line.call('close')
  }

  async #stopServing(): Promise<void> {
    if (!this.#ended) await this.#line.call('stopServing')
  }

  #decide(): { readonly choose: TreeChooser; readonly answer: QueryHandler } {
    if (this.#decisions === undefined) throw new WherryError('INTERNAL', 'A request came before this host serves.')
    return this.#decisions
  }

  #end(cause: Error): void {
    this.#ended = true
    const closing = this.#closing !== undefined
    const error = closing
      ? new WherryError('INTERNAL', 'The agent shuts down.')
      : new WherryError('INTERNAL', `The thread that keeps and moves the data has died: ${cause.message}.`, {
          hint: 'The agent is started again and goes on from what is on its disk; please report this.',
          cause,
        })
    this.#line.close(error)
    if (!closing) this.#died.abort(error)
  }
}
