import { closeSync } from 'node:fs'
import { WherryError } from '../../model/errors.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { openFile, openRoot, openWay } from '../inode/directory.ts'
import { movedAway, statAgain } from '../inode/inode.ts'
import { type BytePath, nameOf, parentOf, printable } from '../manifest/byte-path.ts'
import type { FileEntry } from '../manifest/entry.ts'

interface TreeFilesOptions {
  /** Path of the tree. */
  readonly data: string
  /** The volume's name, for messages. */
  readonly volume: string
  /** True: content counts by its hash alone, which the receiver checks; the files' times do not count. */
  readonly inUse?: boolean
}

/** Opens files of a tree that may have changed since its manifest was made, and tells whether they have. */
export class TreeFiles implements Disposable {
  readonly #root: number
  readonly #volume: string
  readonly #inUse: boolean
  readonly #stat = new StatBuffer()

  constructor({ data, volume, inUse = false }: TreeFilesOptions) {
    this.#root = openRoot(data)
    this.#volume = volume
    this.#inUse = inUse
  }

  /** Opens a file, which the caller closes. TREE_CHANGED: it is not what the manifest says. */
  open(file: FileEntry): number {
    const directory = this.openDirectory(parentOf(file.path))
    if (directory === null) throw this.changed(file)
    let fd: number
    try {
      fd = openFile(directory, nameOf(file.path))
    } catch (error) {
      if (movedAway(error)) throw this.changed(file, error)
      throw error
    } finally {
      closeSync(directory)
    }
    if (this.isSame(fd, '', file)) return fd
    closeSync(fd)
    throw this.changed(file)
  }

  /** Opens a directory as a place, which the caller closes; null: it is not there any more. */
  openDirectory(path: BytePath): number | null {
    try {
      return openWay(this.#root, path === '' ? [] : path.split('/'))
    } catch (error) {
      if (movedAway(error)) return null
      throw error
    }
  }

  /**
   * Whether `name` in a held directory ('': the directory itself) is still the manifest's file, as far as its inode
   * tells.
   */
  isSame(fd: number, name: BytePath, file: FileEntry): boolean {
    const stat = this.#stat
    if (name === '') statAt(fd, '', stat)
    else if (!statAgain(fd, name, stat)) return false
    if (stat.kind !== 'file' || this.#inUse) return stat.kind === 'file'
    return stat.sizeBytes === file.sizeBytes && stat.mtimeNs() === file.mtimeNs
  }

  changed(file: FileEntry, cause?: unknown): WherryError {
    const what = `${printable(file.path)} in volume ${this.#volume} is not what the manifest says any more.`
    return new WherryError('TREE_CHANGED', what, {
      hint: 'The volume was written to meanwhile; request it again.',
      cause,
    })
  }

  [Symbol.dispose](): void {
    closeSync(this.#root)
  }
}
