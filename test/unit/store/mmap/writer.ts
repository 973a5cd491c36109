import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

const PYTHON = '/usr/bin/python3'
const WRITER = fileURLToPath(new URL('../../../fixtures/writer.py', import.meta.url))
/** A stopped process gets no further than the end of its system call: milliseconds, but for a disk that is busy. */
const STOP_TIMEOUT_MS = 20_000

/** How it writes: see test/fixtures/writer.py. */
export type WriterMode = 'mmap' | 'write' | 'direct' | 'copy' | 'allocate' | 'truncate' | 'spread' | 'mixed'

/** A program that writes to files as fast as it can, and can be held. */
export class Writer {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** Starts it; it writes when this returns, and is killed with the test. */
  static async start(t: ExecutionContext, mode: WriterMode, seed: number, files: readonly string[]): Promise<Writer> {
    const child = spawn(PYTHON, [WRITER, mode, String(seed), ...files], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
    await once(createInterface(child.stdout), 'line')
    return new Writer(child)
  }

  /** Holds it; when this returns it writes no more. Rejects when it has died. */
  async stop(): Promise<void> {
    this.#child.kill('SIGSTOP')
    for (const deadline = Date.now() + STOP_TIMEOUT_MS; Date.now() < deadline; await sleep(0)) {
      // The state follows the name in brackets (proc_pid_stat(5)): T is stopped.
      const state = readFileSync(`/proc/${this.#child.pid}/stat`, 'latin1')
        .replace(/^.*\) /s, '')
        .charAt(0)
      if (state === 'T') return
      if (state === 'Z') break
    }
    throw new Error('the writer does not stop, or died')
  }

  go(): void {
    this.#child.kill('SIGCONT')
  }
}
