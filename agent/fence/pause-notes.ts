import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UNFINISHED } from '../runtime/durable-file.ts'
import { bootId } from '../sys/boot-id.ts'

/** Age of an unfinished file whose process was killed: writing a note takes milliseconds. */
const ABANDONED_AFTER_MS = 60_000

/** Part of every note's name. Earlier versions had notes of other pauses in the same directory. */
const MARK = '.fence.'

const NOTE = z.object({
  container: z.string().regex(/^[\w.-]{1,128}$/),
  volume: z.string().regex(/^\w{1,64}$/),
  /** The process that wrote it, or its pause: a random id. */
  owner: z.string(),
  /**
   * When the container had last stopped (ISO 8601): tells one run of it from the next.
   * Null: never. Missing: the engine did not reply.
   */
  stoppedAt: z.string().nullable().optional(),
})

/** Says that Wherry paused a container for a fence because of one volume, or is about to. */
export type PauseNote = Readonly<z.infer<typeof NOTE>>

/**
 * The notes of all processes of this host: one small file each, in one directory.
 * A fence cannot wait, so no process waits for another, not even for one that was stopped while it wrote.
 * Files are replaced by rename and not synced: they outlive every process, and no pause outlives the kernel.
 */
export class PauseNotes {
  readonly #directory: string

  private constructor(directory: string) {
    this.#directory = directory
  }

  /** Opens this boot's directory below `parent`, and removes those of other boots: their notes mean nothing. */
  static async open(parent: string): Promise<PauseNotes> {
    const boot = await bootId()
    await mkdir(join(parent, boot), { recursive: true, mode: 0o700 })
    const others = (await readdir(parent)).filter((name) => name !== boot)
    await Promise.all(others.map((name) => rm(join(parent, name), { recursive: true, force: true })))
    const notes = new PauseNotes(join(parent, boot))
    await notes.#sweep()
    return notes
  }

  async read(): Promise<PauseNote[]> {
    const names = (await readdir(this.#directory)).filter((name) => name.includes(MARK) && !name.endsWith(UNFINISHED))
    const found = await Promise.all(names.map((name) => this.#readOne(name)))
    return found.filter((note) => note !== null)
  }

  /** Adds or replaces a note. On return other processes see it, and it outlives this one. */
  async write(note: PauseNote): Promise<void> {
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

  /** Removes a note, unless another process has replaced it. */
  async remove(note: PauseNote): Promise<void> {
    const now = await this.#readOne(nameOf(note))
    if (now?.owner === note.owner) await rm(join(this.#directory, nameOf(note)), { force: true })
  }

  async #readOne(name: string): Promise<PauseNote | null> {
    const path = join(this.#directory, name)
    const text = await readFile(path, 'utf8').catch(emptyIfGone)
    return NOTE.safeParse(parse(text)).data ?? null
  }

  async #sweep(): Promise<void> {
    const names = (await readdir(this.#directory)).filter((name) => name.endsWith(UNFINISHED))
    for (const name of names) {
      const path = join(this.#directory, name)
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
      if (Date.now() - mtimeMs > ABANDONED_AFTER_MS) await rm(path, { force: true })
    }
  }
}

function nameOf({ container, volume }: Pick<PauseNote, 'container' | 'volume'>): string {
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
