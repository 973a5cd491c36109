import { type FileHandle, open } from 'node:fs/promises'
import { syncFileSystem } from '../../sys/files.ts'

/**
 * Reads the clock that the file system stamps ctimes with, then writes out all its dirty pages.
 * Returns T.
 * A file read after this call whose ctime is below T cannot change again without a new ctime. The writeback
 * write-protects its pages, so the next store through a mapping faults and moves the ctime. A ctime of T or later
 * may share its clock tick (1 to 10 ms) with a store yet to come.
 */
export async function readClockAndSync(path: string): Promise<bigint> {
  await using tick = await FsClock.open(path)
  return await tick.sync()
}

/**
 * Calls `readClockAndSync` repeatedly, and notices every failed write between opening and the last sync.
 * The kernel reports such an error to each descriptor that was open then. It reports it to one opened later only if
 * nobody has seen the error yet (syncfs(2), errseq_t).
 */
export class FsClock implements AsyncDisposable {
  readonly #path: string
  readonly #file: FileHandle

  static async open(path: string): Promise<FsClock> {
    return new FsClock(path, await open(path, 'w', 0o600))
  }

  private constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  /**
   * Syncs, and returns T, see `readClockAndSync`.
   * Rejects SystemCallError of the call `syncfs` when something could not be written: once for each failure.
   */
  async sync(): Promise<bigint> {
    await this.#file.write(Buffer.from('t'), 0, 1, 0)
    const { ctimeNs } = await this.#file.stat({ bigint: true })
    await syncFileSystem(this.#file.fd, this.#path)
    return ctimeNs
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}
