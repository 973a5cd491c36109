import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const schema = z.array(z.string())

/** Between a stream's name and when it was made. Older versions keep such a line and overlook it. */
const SEPARATOR = ' made '

/**
 * The buckets' streams that this host has seen, kept on its disk, each with when it was made.
 * If one of them is missing later, it was lost and must not be created again. If one is there that was made at another
 * time, the registry was lost and somebody has created it again. In both cases an empty bucket would mean that no
 * volume exists, and dockerd would believe it (promise 10).
 */
export class KnownBuckets {
  /** Null: kept in memory only. */
  readonly path: string | null
  #lines: ReadonlySet<string> = new Set()

  constructor(path: string | null) {
    this.path = path
  }

  /** Whether any stream was seen. */
  async hasAny(): Promise<boolean> {
    return (await this.#load()).size > 0
  }

  async has(stream: string): Promise<boolean> {
    return (await this.#load()).has(stream)
  }

  /** Returns when the stream that was seen was made; null: it is not known. */
  async madeAt(stream: string): Promise<string | null> {
    const line = [...(await this.#load())].find((one) => one.startsWith(stream + SEPARATOR))
    return line?.slice((stream + SEPARATOR).length) ?? null
  }

  /** Remembers a stream. May be repeated; durable on return. */
  async add(stream: string, madeAt: string): Promise<void> {
    const lines = await this.#load()
    const made = stream + SEPARATOR + madeAt
    if (lines.has(stream) && lines.has(made)) return
    this.#lines = new Set([...lines, stream, made])
    if (this.path === null) return
    await writeDurably(this.path, [Buffer.from(`${JSON.stringify([...this.#lines])}\n`)])
  }

  /** Reads the file each time: an operator removes it to begin with an empty registry. */
  async #load(): Promise<ReadonlySet<string>> {
    if (this.path !== null) this.#lines = new Set(await readLines(this.path))
    return this.#lines
  }
}

async function readLines(path: string): Promise<string[]> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
