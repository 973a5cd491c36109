import { read } from 'node:fs'
import { promisify } from 'node:util'
import type { Slot } from './spool-index.ts'

/** Bytes read with one call: contents requested one after the other mostly lie together. */
const WINDOW_BYTES = 256 * 1024
/** Contents up to this size come from windows, holes included. */
const SLOT_MAX_BYTES = 64 * 1024
/** Windows kept: responses prepared at once come from a few places. */
const WINDOWS = 8

const readAsync = promisify(read)

interface Window {
  readonly start: number
  readonly data: Promise<Buffer>
}

/** Reads small contents of a spool, many with one call. The spool of a checkpoint does not change. */
export class ReadWindows {
  readonly #fd: number
  /** The newest last. */
  readonly #windows: Window[] = []

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Whether a content is read through windows. */
  static fits({ sizeBytes }: Slot): boolean {
    return sizeBytes <= SLOT_MAX_BYTES
  }

  /** Reads a content into a buffer with an ArrayBuffer of its own; zeros where the file has nothing. */
  async read({ offset, sizeBytes }: Slot): Promise<Buffer> {
    const { start, data } = this.#find(offset, sizeBytes) ?? this.#open(offset)
    const content = Buffer.allocUnsafeSlow(sizeBytes)
    ;(await data).copy(content, 0, offset - start, offset - start + sizeBytes)
    return content
  }

  #find(offset: number, sizeBytes: number): Window | undefined {
    return this.#windows.find(({ start }) => offset >= start && offset + sizeBytes <= start + WINDOW_BYTES)
  }

  #open(start: number): Window {
    const window = { start, data: readWindow(this.#fd, start) }
    // Each reader that waits for it gets the error.
    window.data.catch(() => {})
    this.#windows.push(window)
    if (this.#windows.length > WINDOWS) this.#windows.shift()
    return window
  }
}

async function readWindow(fd: number, start: number): Promise<Buffer> {
  const data = Buffer.alloc(WINDOW_BYTES)
  for (let done = 0; done < data.length; ) {
    const { bytesRead } = await readAsync(fd, data, done, data.length - done, start + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return data
}
