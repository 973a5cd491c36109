import { type FileHandle, open } from 'node:fs/promises'

/** How late a line of the server may reach this log. */
const LOOK_MS = 250

/**
 * A server that cannot reach the others complains every second, for weeks: beyond this size the part already read is
 * dropped.
 */
const KEPT_BYTES = 1 << 20

/** Bytes read at once; a server prints some hundred bytes a second at most. */
const READ_BYTES = 1 << 16

/**
 * Output of a server, through a file.
 * A pipe breaks when the agent that reads it is killed, and the server's next line then kills the server: Go ends a
 * program that writes to a broken pipe on standard error (os/signal, SIGPIPE). It would not hand over its
 * leaderships,
 * and the registry would have no leader until the next election.
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
    // Opened for appending, so that the server continues at the new end after the file was emptied.
    const file = await open(path, 'a+', 0o600)
    await file.truncate(0)
    return new ServerOutput(file)
  }

  /** Standard output and standard error of the server. */
  get fd(): number {
    return this.#file.fd
  }

  /** Calls `onLine` with each line from now on. */
  follow(onLine: (line: string) => void): void {
    this.#onLine = onLine
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref()
  }

  /** Reads the rest; call it when the server has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#look()
    await this.#look()
    await this.#file.close()
  }

  /** Joins a running read. Never rejects: a failing disk only costs log lines here, and is reported elsewhere. */
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
