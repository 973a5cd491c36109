import { closeSync, constants, mkdirSync, openSync, rmdirSync, unlinkSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Bitmap } from '../blocks/bitmap.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { at, openDirectory, openRoot, openWay } from './directory.ts'
import { readEntries } from './entries.ts'
import { Levels } from './levels.ts'

const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants

/** A directory with a part of a manifest's tree at the same paths. No symlink is followed out of it. */
export class Mirror {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  async make(): Promise<void> {
    await mkdir(this.path, { recursive: true, mode: 0o700 })
  }

  /**
   * Opens the directory with this index in a manifest; the caller closes it.
   * `create`: makes missing directories on the way (0700).
   */
  directory(manifest: Manifest, index: number, create = false): number {
    const root = openRoot(this.path)
    try {
      const names = manifest.names(index)
      return create ? openOrMake(root, names) : openWay(root, names)
    } finally {
      closeSync(root)
    }
  }

  /** Runs `work` with the place of entry `index` in its held directory. */
  within<T>(manifest: Manifest, index: number, work: (place: Buffer) => T): T {
    const fd = this.directory(manifest, manifest.parent(index))
    try {
      return work(at(fd, manifest.name(index)))
    } finally {
      closeSync(fd)
    }
  }

  /** Opens the file of entry `index` for reading and writing; makes it when missing. */
  open(manifest: Manifest, index: number): number {
    const fd = this.directory(manifest, manifest.parent(index), true)
    try {
      return openSync(at(fd, manifest.name(index)), O_RDWR | O_CREAT | O_NOFOLLOW, 0o600)
    } finally {
      closeSync(fd)
    }
  }

  /**
   * Removes everything but the directories of the manifest and the regular files with a wanted index.
   * Adds what stays to `present`. Does nothing when the mirror was never made.
   */
  async prune(manifest: Manifest, wanted: (index: number) => boolean, present: Bitmap): Promise<void> {
    let root: number
    try {
      root = openRoot(this.path)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return
      throw error
    }
    try {
      using levels = new Levels(root)
      await new Pruning(manifest, wanted, present, levels).directory(0)
    } finally {
      closeSync(root)
    }
  }
}

/** Mostly all directories are there, or only the last is missing. */
function openOrMake(root: number, names: readonly BytePath[]): number {
  const whole = openIfThere(root, names)
  if (whole !== null) return whole
  const parents = names.slice(0, -1)
  const parent = openIfThere(root, parents)
  let fd = parent ?? openDirectory(root, '.')
  for (const name of parent === null ? names : names.slice(-1)) {
    const above = fd
    try {
      fd = openIfThere(above, [name]) ?? makeDirectory(above, name)
    } finally {
      closeSync(above)
    }
  }
  return fd
}

function openIfThere(fd: number, names: readonly BytePath[]): number | null {
  try {
    return openWay(fd, names)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return null
  }
}

function makeDirectory(fd: number, name: BytePath): number {
  mkdirSync(at(fd, name), 0o700)
  return openDirectory(fd, name)
}

class Pruning {
  readonly #manifest: Manifest
  readonly #wanted: (index: number) => boolean
  readonly #present: Bitmap
  readonly #levels: Levels
  readonly #pace = new YieldLoop()

  constructor(manifest: Manifest, wanted: (index: number) => boolean, present: Bitmap, levels: Levels) {
    this.#levels = levels
    this.#manifest = manifest
    this.#wanted = wanted
    this.#present = present
  }

  /** `index` is the directory's; null: the manifest does not have it, all is removed. */
  async directory(index: number | null): Promise<void> {
    const children = new Children(this.#manifest, index)
    const subdirectories: { readonly name: BytePath; readonly match: number | null }[] = []
    for (const entry of readEntries(this.#levels.held.fd)) {
      const match = children.find(entry.name)
      if (entry.isDirectory()) subdirectories.push({ name: entry.name, match })
      else if (match !== null && entry.isFile() && this.#wanted(match)) this.#present.add(match)
      else unlinkSync(at(this.#levels.held.fd, entry.name))
      if (this.#pace.due()) await this.#pace.rest()
    }
    for (const { name, match } of subdirectories) await this.#subdirectory(name, match)
  }

  async #subdirectory(name: BytePath, match: number | null): Promise<void> {
    const kept = match !== null && this.#manifest.kind(match) === 'dir' ? match : null
    this.#levels.enter(name)
    try {
      await this.directory(kept)
    } finally {
      this.#levels.leave()
    }
    if (kept === null) rmdirSync(at(this.#levels.held.fd, name))
  }
}

/** Finds the entries of one directory of a manifest by their names. */
class Children {
  readonly #manifest: Manifest
  /** Ascending, and so by name. */
  readonly #indexes: Uint32Array

  /** `directory` null: there are none. */
  constructor(manifest: Manifest, directory: number | null) {
    this.#manifest = manifest
    this.#indexes = Uint32Array.from(directory === null ? [] : childrenOf(manifest, directory))
  }

  /** Returns the index of the entry with this name; null: there is none. */
  find(name: BytePath): number | null {
    let [low, high] = [0, this.#indexes.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#manifest.name(this.#indexes[middle] ?? 0) < name) low = middle + 1
      else high = middle
    }
    const index = this.#indexes[low]
    return index !== undefined && this.#manifest.name(index) === name ? index : null
  }
}

/** Returns the indexes of a directory's own entries, in order. */
function* childrenOf(manifest: Manifest, directory: number): Generator<number, undefined> {
  const depth = manifest.depth(directory)
  let index = directory + 1
  while (index < manifest.count && manifest.depth(index) > depth) {
    yield index
    index = manifest.kind(index) === 'dir' ? manifest.subtreeEnd(index) : index + 1
  }
}
