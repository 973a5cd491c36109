import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Directories to try in order; memory comes last.
 * A manifest takes about 110 bytes for each entry, block lists 3 MB for each GB.
 * A plugin's root may be on the disk that failed.
 */
const places = () => [tmpdir(), '/dev/shm', '/dev']

/** Enough digits to tell the state directories of one machine apart. */
const OWNER_DIGITS = 16

/** Directories outside of a state directory, for when that cannot be written. */
export class Scratch {
  readonly #prefix: string

  /** `key` belongs to the state directory: it identifies directories that a killed process has left. */
  constructor(key: Buffer) {
    const owner = createHash('sha256').update('scratch').update(key).digest('hex').slice(0, OWNER_DIGITS)
    this.#prefix = `wherry-aside-${owner}-`
  }

  /** Makes a directory where something can be written. Rejects with the last system call's error. */
  async make(): Promise<string> {
    let failure: unknown
    for (const place of places()) {
      try {
        return await mkdtemp(join(place, this.#prefix))
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  /**
   * Removes the directories of earlier processes. Never rejects.
   * The caller alone has the state directory open.
   */
  async removeLeftOver(): Promise<void> {
    for (const place of places()) {
      const names = await readdir(place).catch(() => [])
      for (const name of names.filter((name) => name.startsWith(this.#prefix))) {
        // What cannot be removed costs space, and nothing else.
        await rm(join(place, name), { recursive: true, force: true }).catch(() => undefined)
      }
    }
  }
}
