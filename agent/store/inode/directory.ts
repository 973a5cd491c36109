import { closeSync, constants, openSync } from 'node:fs'
import { O_PATH, openAt, openDirectoryBelow } from '../../sys/open.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { Manifest } from '../manifest/manifest.ts'

const { O_DIRECTORY, O_RDONLY, O_NOATIME, O_NOFOLLOW, O_NONBLOCK } = constants

/** Opens a directory by a path of ours (not of a tree) as a place to work from. */
export function openRoot(path: string): number {
  return openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)
}

/**
 * Returns a path for `name` in the directory held open as `fd`.
 * Only the last component is looked up, in that very directory. A symlink swapped in above cannot lead elsewhere,
 * and no path is too long. The caller must prevent that `name` itself is followed (O_NOFOLLOW, l-calls).
 */
export function at(fd: number, name: BytePath): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}/${name}`, 'latin1')
}

/** Returns a path for the object that `fd` itself holds. */
export function self(fd: number): string {
  return `/proc/self/fd/${fd}`
}

/** Opens a directory in the directory held as `fd`; ENOTDIR or ELOOP when it is something else. */
export function openDirectory(fd: number, name: BytePath): number {
  return openSync(at(fd, name), O_PATH | O_DIRECTORY | O_NOFOLLOW)
}

/**
 * Opens a file in the directory held as `fd` for reading, as `openOwn` does; its atime stays.
 * ELOOP, ENOENT ... when it is something else by now.
 */
export function openFile(fd: number, name: BytePath): number {
  return openAt(fd, name, O_RDONLY | O_NONBLOCK | O_NOATIME)
}

/**
 * Opens a file of this host's own tree.
 * It neither blocks nor leads elsewhere, whatever is there by now.
 */
export function openOwn(place: Buffer): number {
  return openSync(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
}

/** Opens the directory at the end of a list of names below a held one; see openDirectoryBelow. */
export function openWay(fd: number, names: readonly BytePath[]): number {
  return openDirectoryBelow(fd, names)
}

/** Holds the directory of a tree that was entered last; entering one within it opens only that. */
export class DirectoryCursor implements Disposable {
  readonly #root: number
  readonly #manifest: Manifest
  #fd = -1
  #index = 0

  /** `manifest` describes what is below `root`; the caller closes `root`. */
  constructor(root: number, manifest: Manifest) {
    this.#root = root
    this.#manifest = manifest
  }

  /** Returns a descriptor of the directory with this index; valid until the next call. */
  enter(index: number): number {
    if (index === 0) return this.#root
    if (this.#fd >= 0 && index === this.#index) return this.#fd
    const manifest = this.#manifest
    const isWithin = this.#fd >= 0 && manifest.parent(index) === this.#index
    const fd = isWithin ? openDirectory(this.#fd, manifest.name(index)) : openWay(this.#root, manifest.names(index))
    this[Symbol.dispose]()
    this.#fd = fd
    this.#index = index
    return fd
  }

  /** Returns a path for entry `index` from its held parent; the root is the held directory itself. */
  locate(index: number): Buffer {
    if (index === 0) return at(this.#root, '.')
    return at(this.enter(this.#manifest.parent(index)), this.#manifest.name(index))
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}
