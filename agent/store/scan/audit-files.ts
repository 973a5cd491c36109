import { closeSync } from 'node:fs'
import { errnoOf } from '../../sys/failure.ts'
import { readByPages } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { isSmall } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { lookAgain, type State, sameState, stateOf } from '../inode/inode.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { KeptTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { BLOCKS_OF_FILE, type Suspect } from './audit-blocks.ts'
import { ChangedBlocks } from './changed-blocks.ts'
import type { FileHasher } from './file-hasher.ts'
import { RandomFiles } from './random-files.ts'
import type { Place } from './walk-position.ts'

/** An entry as it is kept. */
export interface KeptEntry {
  readonly tree: KeptTree
  readonly index: number
}

interface UntouchedParts {
  readonly pool: BlockPool
  readonly reading: FileHasher
  /** What is found goes there. */
  readonly suspects: Suspect[]
}

/**
 * Reads some of the files that the walk keeps as they are, chosen by chance, and compares them with what is kept: a small one whole, a few blocks of a large
 * one. Content that differs in a file that is still in the state it was kept in has changed without a trace.
 *
 * A program that writes meanwhile leaves a trace: the kernel moves the ctime before the new bytes can be read (file_update_time, called by write(2) before it
 * copies and by page_mkwrite before the page can be stored to). So a look at the state that follows the read sees it.
 */
export class FileAudit {
  readonly #parts: UntouchedParts
  readonly #draws: readonly RandomFiles[]
  readonly #stat = new StatBuffer()
  #left: number

  /** At most `most` files of all these trees together. */
  constructor(trees: readonly KeptTree[], most: number, parts: UntouchedParts) {
    this.#parts = parts
    this.#draws = most === 0 ? [] : trees.map((tree) => new RandomFiles(tree, most))
    this.#left = most
  }

  /** To be told of each file that is kept, in tree order; `stat` saw it. Answers a promise when it is to be read and the caller must wait until that can begin. */
  kept(place: Place, name: BytePath, entry: KeptEntry, stat: StatBuffer): Promise<void> | undefined {
    if (this.#left === 0 || !this.#isChosen(entry)) return undefined
    this.#left--
    const state = stateOf(stat)
    return this.#parts.reading.beside(place, () => this.#read(place, name, entry, state))
  }

  #isChosen({ tree, index }: KeptEntry): boolean {
    for (const draw of this.#draws) if (draw.tree === tree) return draw.has(index)
    return false
  }

  async #read(place: Place, name: BytePath, entry: KeptEntry, state: State): Promise<void> {
    const ino = entry.tree.seen.ino(entry.index)
    const wrong = isSmall(state.sizeBytes)
      ? this.#small(place, name, entry, state)
      : this.#large(place, name, entry, state)
    for (const range of await wrong) this.#parts.suspects.push({ name, ino, ...range, untouched: true })
  }

  async #small(place: Place, name: BytePath, { tree, index }: KeptEntry, state: State): Promise<ByteRange[]> {
    const { fd } = place.held
    const { hashes, outcomes } = await this.#parts.pool.hashFiles(fd, [name], [state.sizeBytes])
    // What cannot be read says nothing of changes: nobody has to read it for the checkpoint.
    if (outcomes[0] !== 0 || hashes.equals(tree.manifest.file(index).hash)) return []
    const same = lookAgain(fd, name, this.#stat) && sameState(state, this.#stat)
    return same ? [{ offset: 0, length: state.sizeBytes }] : []
  }

  async #large(place: Place, name: BytePath, { tree, index }: KeptEntry, state: State): Promise<ByteRange[]> {
    let fd: number | undefined
    try {
      fd = openFile(place.held.fd, name)
      // Another file may have taken the name.
      if (!this.#isAsBefore(fd, state)) return []
      readByPages(fd)
      const blocks = await ChangedBlocks.of(tree, index, [], state.sizeBytes)
      const wrong = (await blocks?.audit(fd, this.#parts.pool, BLOCKS_OF_FILE)) ?? []
      return this.#isAsBefore(fd, state) ? wrong : []
    } catch (error) {
      // As with a small one.
      if (errnoOf(error) === undefined) throw error
      return []
    } finally {
      if (fd !== undefined) closeSync(fd)
    }
  }

  #isAsBefore(fd: number, state: State): boolean {
    statAt(fd, '', this.#stat)
    return sameState(state, this.#stat)
  }
}
