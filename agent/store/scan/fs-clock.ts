import { type FileHandle, open } from 'node:fs/promises'
import { syncFileSystem } from '../../sys/files.ts'

/**
 * Reads the clock that the file system stamps ctimes with, then writes all its dirty pages out. What the answer T is for:
 * a file read after this call whose ctime is below T cannot change again without a new ctime. (Its pages are
 * write-protected by the writeback, so the next store through a mapping faults and moves ctime; a ctime of T or later
 * may share its clock tick, which is 1 to 10 ms long, with a store yet to come.)
 */
export async function readClockAndSync(path: string): Promise<bigint> {
  await using tick = await FsClock.open(path)
  return await tick.sync()
}

/**
 * As `readClockAndSync`, time and again, and no data that the file system fails to write between opening and the last sync goes unnoticed: the kernel
 * tells such an error to each descriptor that was open then, but to one opened later only if nobody has been told yet (syncfs(2), errseq_t).
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

  /** Answers T, see `readClockAndSync`. Rejects SystemCallError of the call `syncfs` when something could not be written: once for each time. */
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
