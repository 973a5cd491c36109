import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from './host.ts'

const LOOK_MS = 50

/** Kills processes with SIGKILL as soon as they appear, again and again, until it is disposed of. */
export class Reaper implements AsyncDisposable {
  readonly #hosts: readonly Host[]
  readonly #pattern: RegExp
  readonly #loop: Promise<void>
  readonly #bornMs = new Map<number, number>()
  #livesMs = 0
  #stopped = false
  #killed = 0

  constructor(hosts: readonly Host[], pattern: RegExp) {
    this.#hosts = hosts
    this.#pattern = pattern
    this.#loop = this.#run()
  }

  get killed(): number {
    return this.#killed
  }

  /** From now on a process lives this long before it is killed. */
  letLive(ms: number): void {
    this.#livesMs = ms
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    await this.#loop
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      for (const host of this.#hosts) this.#reap(host)
      await sleep(LOOK_MS)
    }
  }

  #reap(host: Host): void {
    for (const { pid } of host.processes(this.#pattern)) {
      const bornMs = this.#bornMs.get(pid) ?? performance.now()
      this.#bornMs.set(pid, bornMs)
      if (performance.now() - bornMs < this.#livesMs) continue
      this.#bornMs.delete(pid)
      this.#killed++
      try {
        host.kill(pid)
      } catch {
        // It has ended by itself meanwhile.
      }
    }
  }
}
