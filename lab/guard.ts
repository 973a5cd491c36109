import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { LOCK_FILE, prepareRecord } from './record.ts'

const PROGRAM = fileURLToPath(new URL('guard-process.ts', import.meta.url))
/** After this long without the lock somebody should know what is being waited for. */
const SILENT_WAIT_MS = 1_000

/** The owner's handle on the process that takes the lab down (see guard-process.ts). */
export class LabGuard {
  readonly #child: ChildProcess & { stdin: Writable; stdout: Readable }
  readonly #ended: Promise<unknown>
  #errors = ''

  private constructor() {
    prepareRecord()
    const command = ['--no-fork', '--exclusive', LOCK_FILE, process.execPath, PROGRAM]
    // A session of its own: a Ctrl-C for the owner must not end the one that cleans up after it.
    this.#child = spawn('flock', command, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] })
    this.#child.stderr?.on('data', (data: Buffer) => {
      this.#errors += data
    })
    this.#ended = once(this.#child, 'exit')
  }

  /** Starts the guard; resolves when this machine's lab lock is ours and nothing is left of earlier labs. */
  static async start(log: (line: string) => void): Promise<LabGuard> {
    const guard = new LabGuard()
    const timer = setTimeout(() => log('waiting for another lab on this machine to end'), SILENT_WAIT_MS)
    try {
      await Promise.race([
        once(guard.#child.stdout, 'data'),
        guard.#ended.then(() => {
          throw new Error(`the lab's guard ended: ${guard.#errors}`)
        }),
      ])
    } finally {
      clearTimeout(timer)
    }
    return guard
  }

  /** Takes the lab down; rejects with what could not be taken down. Safe to repeat. */
  async takeDown(): Promise<void> {
    await this.#end('')
  }

  /** Leaves the lab up for an operator to inspect; the next start takes it down. */
  async leave(): Promise<void> {
    await this.#end('keep\n')
  }

  async #end(last: string): Promise<void> {
    this.#child.stdin.end(last)
    await this.#ended
    if (this.#child.exitCode !== 0) throw new Error(`the lab was not taken down completely: ${this.#errors}`)
  }
}
