import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { writeDurably } from '../runtime/durable-file.ts'

const schema = z.array(z.string())

/**
 * The buckets that this host has seen, kept on its disk.
 * If one of them is missing later, it was lost and must not be created again. An empty bucket would mean that no volume
 * exists, and dockerd would believe it (promise 10).
 */
export class KnownBuckets {
  /** Null: kept in memory only. */
  readonly path: string | null
  #names: Set<string> | null = null

  constructor(path: string | null) {
    this.path = path
  }

  async has(name: string): Promise<boolean> {
    return (await this.#load()).has(name)
  }

  /** Remembers a bucket. May be repeated; durable on return. */
  async add(name: string): Promise<void> {
    const names = await this.#load()
    if (names.has(name)) return
    names.add(name)
    if (this.path === null) return
    await writeDurably(this.path, [Buffer.from(`${JSON.stringify([...names])}\n`)])
  }

  async #load(): Promise<Set<string>> {
    this.#names ??= new Set(this.path === null ? [] : await readNames(this.path))
    return this.#names
  }
}

async function readNames(path: string): Promise<string[]> {
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}
