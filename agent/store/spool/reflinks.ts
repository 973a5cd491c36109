import { closeSync } from 'node:fs'
import { cloneFile, countExtents, openUnnamed } from '../../sys/clone.ts'
import { errnoOf } from '../../sys/failure.ts'

/**
 * Clones open at once: more large files than a database writes to between two scans.
 * Far below the 1,024 open files that many systems allow a process.
 */
export const CLONES_MAX = 256

/**
 * Extents that all clones together may have.
 * Cloning one costs about 15 microseconds on btrfs and 40 on XFS. The kernel cannot be interrupted meanwhile, and
 * blocks writers of the file. A file that is overwritten while it is cloned falls into more and more extents.
 */
export const EXTENTS_MAX = 4096

/**
 * Clones of files as they were at one moment, sharing their blocks.
 * They have no names: nothing is left of them once they are closed, or after a crash.
 */
export class Reflinks implements Disposable {
  readonly #directory: string
  /** By entry of the tree. */
  readonly #fds = new Map<number, number>()
  #begun = 0
  #extentsLeft = EXTENTS_MAX
  #closed = false

  /** Opens a set for files on the file system of `directory`; null where it does not share blocks. */
  static async open(directory: string): Promise<Reflinks | null> {
    const clones = new Reflinks(directory)
    const probe = await orNull(() => openUnnamed(directory))
    if (probe === null) return null
    try {
      const other = await clones.#clone(probe)
      if (other === null) return null
      closeSync(other)
      return clones
    } finally {
      closeSync(probe)
    }
  }

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** Returns the clone of an entry, open for reading until this is closed; undefined: there is none. */
  fd(index: number): number | undefined {
    return this.#fds.get(index)
  }

  /**
   * Clones the open file `fd`, entry `index`; returns null when it cannot be cloned.
   * Reasons: another file system, no copy on write, no space, too many clones, or too many extents.
   * A failing disk shows when the file is read instead.
   */
  async take(index: number, fd: number): Promise<number | null> {
    if (this.#closed || this.#begun >= CLONES_MAX) return null
    this.#begun++
    const clone = (await this.#isCheap(fd)) ? await this.#clone(fd) : null
    if (clone === null) {
      this.#begun--
      return null
    }
    // Closed only now: while the call was waiting to be made, its number must not have become another file's.
    if (this.#closed) {
      closeSync(clone)
      return null
    }
    this.#fds.set(index, clone)
    return clone
  }

  async #isCheap(fd: number): Promise<boolean> {
    const extents = await orNull(() => countExtents(fd, EXTENTS_MAX + 1))
    if (extents === null || extents > this.#extentsLeft) return false
    this.#extentsLeft -= extents
    return true
  }

  async #clone(fd: number): Promise<number | null> {
    const clone = await orNull(() => openUnnamed(this.#directory))
    if (clone === null) return null
    if ((await orNull(() => cloneFile(fd, clone).then(() => true))) !== null) return clone
    closeSync(clone)
    return null
  }

  /** Nothing may be reading the clones. May be repeated. */
  [Symbol.dispose](): void {
    this.#closed = true
    for (const fd of this.#fds.values()) closeSync(fd)
    this.#fds.clear()
  }
}

/** Returns the result of a system call; null when it is refused. */
async function orNull<T>(call: () => T | Promise<T>): Promise<T | null> {
  try {
    return await call()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return null
  }
}
