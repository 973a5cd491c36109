import { closeSync } from 'node:fs'
import { WherryError } from '../../model/errors.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { openFile, openRoot, openWay } from '../inode/directory.ts'
import { lookAgain, movedAway } from '../inode/inode.ts'
import { type BytePath, nameOf, parentOf, printable } from '../manifest/byte-path.ts'
import type { FileEntry } from '../manifest/entry.ts'

interface TreeFilesOptions {
  /** Path of the tree. */
  readonly data: string
  /** The volume's name, for messages. */
  readonly volume: string
  /** What is read counts by its hash alone, which the receiver checks; the files' times do not. */
  readonly inUse?: boolean
}

/** Opens files of a tree that may have changed since its manifest was made, and says whether they still are what that says. */
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

  /** Opens a file; TREE_CHANGED when it is not what the manifest says. The caller closes it. */
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

  /** Opens a directory as a place; null when it is not there any more. The caller closes it. */
  openDirectory(path: BytePath): number | null {
    try {
      return openWay(this.#root, path === '' ? [] : path.split('/'))
    } catch (error) {
      if (movedAway(error)) return null
      throw error
    }
  }

  /** Whether what has this name in a held directory ('': what is held) is the manifest's file still, as far as its inode tells. */
  isSame(fd: number, name: BytePath, file: FileEntry): boolean {
    const stat = this.#stat
    if (name === '') statAt(fd, '', stat)
    else if (!lookAgain(fd, name, stat)) return false
    if (stat.kind !== 'file' || this.#inUse) return stat.kind === 'file'
    return stat.sizeBytes === file.sizeBytes && stat.mtimeNs() === file.mtimeNs
  }

  changed(file: FileEntry, cause?: unknown): WherryError {
    const what = `${printable(file.path)} in volume ${this.#volume} is not what the manifest says any more.`
    return new WherryError('TREE_CHANGED', what, { hint: 'The volume was written to since; ask for it again.', cause })
  }

  [Symbol.dispose](): void {
    closeSync(this.#root)
  }
}
