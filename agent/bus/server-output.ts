import { type FileHandle, open } from 'node:fs/promises'

/** How often the file is read, and so how late a line may reach our log. */
const POLL_MS = 1_000

/** Limit of the file, once read: a server that cannot reach the others logs every second, for weeks. */
const KEPT_BYTES = 1 << 20

/** Size of one read. A server prints some hundred bytes a second at most. */
const READ_BYTES = 1 << 16

/**
 * Follows the output of nats-server, which goes to a file.
 * With a pipe, killing the agent would kill the server with SIGPIPE at its next line (Go's os/signal: a broken pipe on
 * standard error ends the program). It would not hand over its leaderships, and the registry would have no leader for
 * the seconds of an election.
 */
export class ServerOutput implements AsyncDisposable {
  readonly #file: FileHandle
  readonly #decoder = new TextDecoder()
  /** One for all reads: the file is read once a second, and mostly has nothing new. */
  readonly #buffer = Buffer.alloc(READ_BYTES)
  #onLine: (line: string) => void = () => undefined
  #offsetBytes = 0
  #rest = ''
  #polling: Promise<void> | null = null
  #timer: NodeJS.Timeout | undefined

  private constructor(file: FileHandle) {
    this.#file = file
  }

  /** Creates the file, or empties the one of an earlier server. */
  static async open(path: string): Promise<ServerOutput> {
    // In append mode, so that the writer continues at the new end after the file was emptied.
    const file = await open(path, 'a+', 0o600)
    await file.truncate(0)
    return new ServerOutput(file)
  }

  /** The server's standard output and standard error. */
  get fd(): number {
    return this.#file.fd
  }

  /** Calls `onLine` with each line from now on. */
  follow(onLine: (line: string) => void): void {
    this.#onLine = onLine
    this.#timer = setInterval(() => void this.#poll(), POLL_MS).unref()
  }

  /** Reads the rest. Call it when the server has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#poll()
    await this.#poll()
    await this.#file.close()
  }

  /** Reads new lines, or joins a read that is running. Never rejects: a failing disk costs only log lines here. */
  #poll(): Promise<void> {
    this.#polling ??= this.#read()
      .catch(() => undefined)
      .finally(() => {
        this.#polling = null
      })
    return this.#polling
  }

  async #read(): Promise<void> {
    for (;;) {
      const { bytesRead } = await this.#file.read(this.#buffer, 0, READ_BYTES, this.#offsetBytes)
      if (bytesRead === 0) break
      this.#offsetBytes += bytesRead
      const text = this.#decoder.decode(this.#buffer.subarray(0, bytesRead), { stream: true })
      const lines = (this.#rest + text).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) this.#onLine(line)
    }
    if (this.#offsetBytes < KEPT_BYTES) return
    await this.#file.truncate(0)
    this.#offsetBytes = 0
  }
}
