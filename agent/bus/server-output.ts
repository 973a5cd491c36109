import { type FileHandle, open } from 'node:fs/promises'

/** How late a line of the server may come into our log. */
const LOOK_MS = 250

/** A server that cannot reach the others complains every second, for weeks: what was read of more than this is dropped. */
const KEPT_BYTES = 1 << 20

/** Read at once; a server prints some hundred bytes a second at most. */
const READ_BYTES = 1 << 16

/**
 * What a server prints goes through a file. A pipe breaks with the agent that reads it, and then the server dies of its next line (Go ends a program that
 * writes to a broken pipe on standard error: os/signal, SIGPIPE): instead of handing its leaderships over when the next agent asks it to end, it would
 * leave the registry without a leader for the seconds of an election.
 */
export class ServerOutput implements AsyncDisposable {
  readonly #file: FileHandle
  readonly #decoder = new TextDecoder()
  #onLine: (line: string) => void = () => undefined
  #offsetBytes = 0
  #rest = ''
  #looking: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined

  private constructor(file: FileHandle) {
    this.#file = file
  }

  /** Makes the file, or empties the one of an earlier server. */
  static async open(path: string): Promise<ServerOutput> {
    // Appending, so that the writer goes on at the new end after the file was emptied.
    const file = await open(path, 'a+', 0o600)
    await file.truncate(0)
    return new ServerOutput(file)
  }

  /** To be the server's standard output and standard error. */
  get fd(): number {
    return this.#file.fd
  }

  /** Calls `onLine` with each line from now on. */
  follow(onLine: (line: string) => void): void {
    this.#onLine = onLine
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref()
  }

  /** Reads what is left; call it when the server has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#look()
    await this.#look()
    await this.#file.close()
  }

  /** Joins a look that is under way. Never rejects: a disk that fails costs log lines, and whatever else it costs is said elsewhere. */
  #look(): Promise<void> {
    this.#looking ??= this.#read()
      .catch(() => undefined)
      .finally(() => {
        this.#looking = null
      })
    return this.#looking
  }

  async #read(): Promise<void> {
    for (;;) {
      const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(READ_BYTES), 0, READ_BYTES, this.#offsetBytes)
      if (bytesRead === 0) break
      this.#offsetBytes += bytesRead
      const lines = (this.#rest + this.#decoder.decode(buffer.subarray(0, bytesRead), { stream: true })).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) this.#onLine(line)
    }
    if (this.#offsetBytes < KEPT_BYTES) return
    await this.#file.truncate(0)
    this.#offsetBytes = 0
  }
}
