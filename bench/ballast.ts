import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { run } from '../lab/command.ts'

const FILE_BYTES = 32 * 1024 ** 2
/** What a run takes in: the receiver's 2 GiB of `big` in the page cache, and the processes. */
const TOTAL_BYTES = 3 * 1024 ** 3
/** Never more than this part of what the machine can spare. */
const SHARE = 0.5
/** A disk takes in less than the margin meanwhile. */
const LOOK_EVERY_MS = 20
const MARGIN_BYTES = 256 * 1024 ** 2

/**
 * Memory that the machine really has, kept for the one who is measured. A virtual machine may give free pages back to
 * its host (free page reporting of virtio-balloon, within two seconds), and the first touch of each costs a fault
 * down there: 2.5 s of CPU time for each GB was measured, more than a copy takes. Who runs after a pause would pay
 * for that. So pages are held in a tmpfs, and as a run takes memory, as much is freed: a page just freed is the next
 * one handed out.
 */
export class Ballast {
  readonly #directory: string
  readonly #held: string[] = []
  #made = 0

  private constructor(directory: string) {
    this.#directory = directory
  }

  static async prepare(directory: string): Promise<Ballast> {
    mkdirSync(directory)
    await run('mount', ['-t', 'tmpfs', '-o', 'mode=700,size=100%', 'tmpfs', directory])
    return new Ballast(directory)
  }

  /** Runs `work` with a full ballast that gives way to it. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#fill()
    let freeBefore = meminfo('MemFree')
    let owed = MARGIN_BYTES
    const timer = setInterval(() => {
      const free = meminfo('MemFree')
      // What anyone gives back is none of the run's: it must not be set off against what the run takes.
      owed += Math.max(0, freeBefore - free)
      freeBefore = free
      for (; owed > 0 && this.#release(); owed -= FILE_BYTES) freeBefore += FILE_BYTES
    }, LOOK_EVERY_MS)
    try {
      return await work()
    } finally {
      clearInterval(timer)
    }
  }

  #fill(): void {
    const more = Math.min(TOTAL_BYTES - this.#held.length * FILE_BYTES, meminfo('MemAvailable') * SHARE)
    const piece = Buffer.alloc(FILE_BYTES, 1)
    for (let filled = 0; filled < more; filled += FILE_BYTES) {
      const file = `${this.#directory}/${this.#made++}`
      writeFileSync(file, piece)
      this.#held.push(file)
    }
  }

  #release(): boolean {
    const file = this.#held.pop()
    if (file === undefined) return false
    rmSync(file)
    return true
  }
}

function meminfo(field: 'MemFree' | 'MemAvailable'): number {
  const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
  return Number(kilobytes) * 1024
}
