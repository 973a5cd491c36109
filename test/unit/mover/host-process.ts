import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import type { Checkpoint } from '../../../agent/model/model.ts'
import type { Capture, LocalCopy } from '../../../agent/store/contract.ts'
import type { StageProgress } from '../../../agent/store/tree-contract.ts'
import type { PullResult, TreeRequest } from '../../../agent/transfer/contract.ts'
import type { volume } from './kit.ts'

export type Volume = ReturnType<typeof volume>

/** What the parent may ask of a host's process. */
export type HostCall =
  | { readonly name: 'recover' }
  | { readonly name: 'create'; readonly volume: Volume }
  | { readonly name: 'copy'; readonly id: string }
  | { readonly name: 'capture'; readonly id: string; readonly kind: 'quiet' | 'live' }
  | { readonly name: 'serve' }
  | { readonly name: 'pull'; readonly port: number; readonly volume: Volume; readonly want: TreeRequest['want'] }
  | { readonly name: 'apply'; readonly id: string; readonly checkpoint: Checkpoint }

export interface HostReply {
  /** Which call; 0: it is ready for calls. */
  readonly nth: number
  readonly result?: unknown
  readonly error?: string
}

/** How a pull ended: as `PullResult` says, or with an error; and what was reported last. */
export type Pulled = (PullResult | { readonly code: string | undefined; readonly message: string }) & {
  readonly progress: StageProgress | null
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
}

/** A host in a process of its own, which may die at any moment. */
export class HostProcess {
  /** Settles when the process has ended: the signal that ended it. */
  readonly ended: Promise<string | null>
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #nth = 0

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', ({ nth, result, error }: HostReply) => {
      const waiting = this.#waiting.get(nth)
      this.#waiting.delete(nth)
      if (error === undefined) waiting?.resolve(result)
      else waiting?.reject(new Error(error))
    })
    const { promise, resolve } = Promise.withResolvers<string | null>()
    this.ended = promise
    child.on('exit', (_code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the host's process ended with ${signal}`))
      resolve(signal)
    })
  }

  /**
   * Starts it on a state directory and recovers; with `dieAt` it ends itself at a step (`<step> <nth time>`), from
   * then on.
   */
  static async start(stateDir: string, tlsDir: string, dieAt = 'never 1'): Promise<HostProcess> {
    const env = { ...process.env, WHERRY_TEST_STEP: dieAt }
    const script = join(import.meta.dirname, 'crashing-host.ts')
    const host = new HostProcess(fork(script, [stateDir, tlsDir], { env, execArgv: [], stdio: 'inherit' }))
    await host.#reply(0)
    await host.#call({ name: 'recover' })
    return host
  }

  create(volume: Volume): Promise<LocalCopy> {
    return this.#call({ name: 'create', volume })
  }

  copy(id: string): Promise<LocalCopy | null> {
    return this.#call({ name: 'copy', id })
  }

  capture(id: string, kind: 'quiet' | 'live' = 'quiet'): Promise<Capture> {
    return this.#call({ name: 'capture', id, kind })
  }

  /** Answers the port. */
  serve(): Promise<number> {
    return this.#call({ name: 'serve' })
  }

  pull(port: number, volume: Volume, want: TreeRequest['want']): Promise<Pulled> {
    return this.#call({ name: 'pull', port, volume, want })
  }

  apply(id: string, checkpoint: Checkpoint): Promise<void> {
    return this.#call({ name: 'apply', id, checkpoint })
  }

  /** Kills it as kill -9 does, if it has not ended; waits for its end. Answers the signal that it ended with. */
  kill(): Promise<string | null> {
    this.#child.kill('SIGKILL')
    return this.ended
  }

  #call<T>(call: HostCall): Promise<T> {
    this.#nth += 1
    this.#child.send({ nth: this.#nth, call }, () => {})
    return this.#reply(this.#nth) as Promise<T>
  }

  #reply(nth: number): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    if (this.#child.exitCode !== null || this.#child.signalCode !== null)
      reject(new Error("the host's process is gone"))
    this.#waiting.set(nth, { resolve, reject })
    return promise
  }
}
