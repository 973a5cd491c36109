import { closeSync } from 'node:fs'
import { SystemCallError } from '../../sys/failure.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import { openDirectory, openWay } from './directory.ts'

/** Open levels beside those with work under way: more than nearly all trees have. */
const OPEN_MAX = 64

/** A directory that stays open while work in it is under way. Its creator counts as the first user. */
export class HeldDirectory {
  readonly fd: number
  #users = 1

  constructor(fd: number) {
    this.fd = fd
  }

  /** Whether it has one user only. */
  get isIdle(): boolean {
    return this.#users === 1
  }

  /** Counts one more user, who must call `release`. */
  hold(): void {
    this.#users++
  }

  release(): void {
    this.#users--
    if (this.#users === 0) closeSync(this.fd)
  }
}

interface Level {
  readonly name: BytePath
  /** Identifies the directory. */
  readonly identity: string
  /** Null: it was closed, to be opened again when the walk comes back. */
  held: HeldDirectory | null
}

/**
 * The directories from a tree's root down to the one that a walk is in.
 * The deepest are held open. Those above are opened again when the walk comes back, since a tree may have more
 * levels than a process may have open files.
 */
export class Levels implements Disposable {
  readonly #root: HeldDirectory
  readonly #levels: Level[] = []
  /** Levels that are open, the highest first. */
  readonly #open = new Set<Level>()
  readonly #stat = new StatBuffer()

  /** The caller closes `root`. */
  constructor(root: number) {
    this.#root = new HeldDirectory(root)
  }

  /** The directory that the walk is in. Throws ESTALE when it could not be opened again. */
  get held(): HeldDirectory {
    const top = this.#levels.at(-1)
    if (top === undefined) return this.#root
    if (top.held === null) throw new SystemCallError('openat2', top.name, 'ESTALE')
    return top.held
  }

  /** Goes down into a subdirectory; errors as `openDirectory`. */
  enter(name: BytePath): HeldDirectory {
    const fd = openDirectory(this.held.fd, name)
    const level = { name, identity: this.#identity(fd), held: new HeldDirectory(fd) }
    this.#levels.push(level)
    this.#open.add(level)
    this.#closeSome()
    return level.held
  }

  /**
   * Goes back up.
   * Throws ESTALE, ENOENT and the like when the directory above is not where it was any more.
   * The next `leave` goes on from there.
   */
  leave(): HeldDirectory {
    const left = this.#levels.pop()
    if (left !== undefined) this.#close(left)
    const top = this.#levels.at(-1)
    if (top !== undefined && top.held === null) this.#openAgain(top)
    return this.held
  }

  [Symbol.dispose](): void {
    for (const level of this.#levels.splice(0)) this.#close(level)
  }

  #openAgain(level: Level): void {
    const fd = openWay(
      this.#root.fd,
      this.#levels.map(({ name }) => name),
    )
    if (this.#identity(fd) !== level.identity) {
      closeSync(fd)
      throw new SystemCallError('openat2', level.name, 'ESTALE')
    }
    level.held = new HeldDirectory(fd)
    this.#open.add(level)
  }

  /** Closes the highest levels until few enough are open; those with work under way stay open. */
  #closeSome(): void {
    for (const level of this.#open) {
      if (this.#open.size <= OPEN_MAX) return
      if (level.held?.isIdle === true) this.#close(level)
    }
  }

  #close(level: Level): void {
    level.held?.release()
    level.held = null
    this.#open.delete(level)
  }

  #identity(fd: number): string {
    const stat = this.#stat
    statAt(fd, '', stat)
    return `${stat.devMajor} ${stat.devMinor} ${stat.inoHigh} ${stat.inoLow}`
  }
}
