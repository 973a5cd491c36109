import { closeSync, constants, openSync } from 'node:fs'
import { O_PATH, openAt } from '../../sys/open.ts'
import { type BytePath, joinPath, nameOf, parentOf } from '../path.ts'

const { O_DIRECTORY, O_RDONLY, O_NOATIME, O_NOFOLLOW, O_NONBLOCK } = constants

/** Opens a directory by a path of ours (not of a tree) as a place to work from. */
export function openRoot(path: string): number {
  return openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)
}

/**
 * Names `name` in the directory held open as `fd`. Only the last component is looked up, and in that very directory: a
 * symlink swapped in above cannot lead elsewhere, and no path is too long. The caller sees to it that `name` itself is
 * not followed (O_NOFOLLOW, l-calls).
 */
export function at(fd: number, name: BytePath): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}/${name}`, 'latin1')
}

/** The object that `fd` itself holds. */
export function self(fd: number): string {
  return `/proc/self/fd/${fd}`
}

/** Opens a directory in the directory held as `fd`; ENOTDIR or ELOOP when it is something else. */
export function openDirectory(fd: number, name: BytePath): number {
  return openSync(at(fd, name), O_PATH | O_DIRECTORY | O_NOFOLLOW)
}

/** Opens a file in the directory held as `fd` for reading, as `openOwn` does; its atime stays. ELOOP, ENOENT ... when it is something else by now. */
export function openFile(fd: number, name: BytePath): number {
  return openAt(fd, name, O_RDONLY | O_NONBLOCK | O_NOATIME)
}

/** Opens a file of this host's own tree. Whatever may stand there by now, opening it neither waits nor leads elsewhere. */
export function openOwn(place: Buffer): number {
  return openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
}

/** Holds the directories from a tree's root to the one last asked for; moving on to a neighbour opens only what differs. */
export class DirectoryCursor implements Disposable {
  readonly #root: number
  readonly #held: { readonly path: BytePath; readonly fd: number }[] = []

  /** `root` stays the caller's to close. */
  constructor(root: number) {
    this.#root = root
  }

  /** The descriptor of directory `path`; valid until the next call. */
  enter(path: BytePath): number {
    if (path === '') return this.#root
    let top = this.#held.at(-1)
    while (top !== undefined && path !== top.path && !path.startsWith(`${top.path}/`)) {
      this.#held.pop()
      closeSync(top.fd)
      top = this.#held.at(-1)
    }
    const known = top?.path ?? ''
    const names = path === known ? [] : path.slice(known === '' ? 0 : known.length + 1).split('/')
    let [at, fd] = [known, top?.fd ?? this.#root]
    for (const name of names) {
      fd = openDirectory(fd, name)
      at = joinPath(at, name)
      this.#held.push({ path: at, fd })
    }
    return fd
  }

  /** `path` as the kernel finds it from its held parent; the root is the held directory itself. */
  locate(path: BytePath): Buffer {
    return path === '' ? at(this.#root, '.') : at(this.enter(parentOf(path)), nameOf(path))
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#held.splice(0)) closeSync(fd)
  }
}

/** A directory held open as long as someone works in it. Who makes it works in it. */
export class HeldDirectory {
  readonly fd: number
  #users = 1

  constructor(fd: number) {
    this.fd = fd
  }

  /** One more works in it, and must call `release`. */
  hold(): void {
    this.#users++
  }

  release(): void {
    this.#users--
    if (this.#users === 0) closeSync(this.fd)
  }
}
