import { closeSync, constants, mkdirSync, openSync, rmdirSync, unlinkSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { YieldLoop } from '../../runtime/yield-loop.ts'
import { errnoOf } from '../../sys/failure.ts'
import type { Bitmap } from '../blocks/bitmap.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { Manifest } from '../manifest/manifest.ts'
import { at, openDirectory, openRoot, openWay, self } from './directory.ts'
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
    const entries = await readdir(self(this.#levels.held.fd), { encoding: 'buffer', withFileTypes: true })
    const found = entries.map((entry) => ({ name: entry.name.toString('latin1'), entry }))
    found.sort((a, b) => (a.name < b.name ? -1 : 1))
    const children = index === null ? [].values() : childrenOf(this.#manifest, index)
    let child = children.next().value
    for (const { name, entry } of found) {
      while (child !== undefined && this.#manifest.name(child) < name) child = children.next().value
      const match = child !== undefined && this.#manifest.name(child) === name ? child : null
      const isDirectory = entry.isDirectory()
      if (isDirectory) await this.#subdirectory(name, match)
      else if (match !== null && entry.isFile() && this.#wanted(match)) this.#present.add(match)
      else unlinkSync(at(this.#levels.held.fd, name))
      if (this.#pace.due()) await this.#pace.rest()
    }
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

/** Returns the indexes of a directory's own entries, in order. */
function* childrenOf(manifest: Manifest, directory: number): Generator<number, undefined> {
  const depth = manifest.depth(directory)
  let index = directory + 1
  while (index < manifest.count && manifest.depth(index) > depth) {
    yield index
    index = manifest.kind(index) === 'dir' ? manifest.subtreeEnd(index) : index + 1
  }
}
