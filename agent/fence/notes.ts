import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UNFINISHED } from '../runtime/durable-file.ts'
import { bootId } from '../sys/boot-id.ts'

/** Files half written by a process that was killed; a note takes milliseconds. */
const LEFT_OVER_AFTER_MS = 60_000

/** In the names of notes. Earlier versions had notes of other pauses beside them. */
const MARK = '.fence.'

const NOTE = z.object({
  container: z.string().regex(/^[\w.-]{1,128}$/),
  volume: z.string().regex(/^\w{1,64}$/),
  /** Which opening of the notes wrote it, so of which process: random. */
  owner: z.string(),
  /** When the container had last stopped (ISO 8601), by which one run of it is told from the next; null: never; missing: the engine did not say. */
  stoppedAt: z.string().nullable().optional(),
})

/** That a container is paused by us for a fence, or about to be, because of one volume. */
export type Note = Readonly<z.infer<typeof NOTE>>

/**
 * The notes of all processes of this host: one small file for each, in one directory. So no process waits for another, not even for one that was stopped in the
 * middle of writing: a fence could not wait. Files are replaced by rename and not synced: they outlive every process, and no pause outlives the kernel.
 */
export class Notes {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** Notes of another boot mean nothing any more: each boot has a directory of its own below `parent`, and the others are removed. */
  static async open(parent: string): Promise<Notes> {
    const boot = await bootId()
    await mkdir(join(parent, boot), { recursive: true, mode: 0o700 })
    const others = (await readdir(parent)).filter((name) => name !== boot)
    await Promise.all(others.map((name) => rm(join(parent, name), { recursive: true, force: true })))
    const notes = new Notes(join(parent, boot))
    await notes.#sweep()
    return notes
  }

  async read(): Promise<Note[]> {
    const names = (await readdir(this.#directory)).filter((name) => name.includes(MARK) && !name.endsWith(UNFINISHED))
    const found = await Promise.all(names.map((name) => this.#readOne(name)))
    return found.filter((note) => note !== null)
  }

  /** Adds or replaces a note. Another process sees it, and it outlives this one, on return. */
  async write(note: Note): Promise<void> {
    const path = join(this.#directory, nameOf(note))
    const unfinished = `${path}.${process.pid}${UNFINISHED}`
    const text = JSON.stringify(NOTE.parse(note))
    try {
      await writeFile(unfinished, text, { mode: 0o600 })
      await rename(unfinished, path)
    } catch (error) {
      await rm(unfinished, { force: true })
      throw error
    }
  }

  /** Removes a note, unless another process has replaced it meanwhile. */
  async forget(note: Note): Promise<void> {
    const now = await this.#readOne(nameOf(note))
    if (now?.owner === note.owner) await rm(join(this.#directory, nameOf(note)), { force: true })
  }

  async #readOne(name: string): Promise<Note | null> {
    const path = join(this.#directory, name)
    const text = await readFile(path, 'utf8').catch(emptyIfGone)
    return NOTE.safeParse(parse(text)).data ?? null
  }

  async #sweep(): Promise<void> {
    const names = (await readdir(this.#directory)).filter((name) => name.endsWith(UNFINISHED))
    for (const name of names) {
      const path = join(this.#directory, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
      if (Date.now() - mtimeMs > LEFT_OVER_AFTER_MS) await rm(path, { force: true })
    }
  }
}

function nameOf({ container, volume }: Pick<Note, 'container' | 'volume'>): string {
  return `${container}${MARK}${volume}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function emptyIfGone(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return ''
  throw error
}
