import { closeSync } from 'node:fs'
import { errnoOf } from '../../sys/failure.ts'
import { readByPages } from '../../sys/files.ts'
import { StatBuffer, statAt } from '../../sys/stat.ts'
import { isSmall } from '../blocks/block-size.ts'
import { openFile } from '../inode/directory.ts'
import { inodeState, type State, sameState, statAgain } from '../inode/inode.ts'
import type { BytePath } from '../manifest/byte-path.ts'
import type { SavedTree } from '../snapshot/saved-snapshot.ts'
import type { ByteRange } from '../tracker/contract.ts'
import type { BlockPool } from '../workers/contract.ts'
import { BLOCKS_OF_FILE, type Suspect } from './audit-blocks.ts'
import { ChangedBlocks } from './changed-blocks.ts'
import type { FileHasher } from './file-hasher.ts'
import { RandomFiles } from './random-files.ts'
import type { WalkPosition } from './walk-position.ts'

/** An entry of a saved tree. */
export interface SavedEntry {
  readonly tree: SavedTree
  readonly index: number
}

interface FileAuditParts {
  readonly pool: BlockPool
  readonly hasher: FileHasher
  /** Receives what is found. */
  readonly suspects: Suspect[]
}

/**
 * Reads some of the files that the walk takes over unchanged, chosen at random, and compares them.
 * A small file is read whole, of a large one a few blocks. Content that differs in a file that is still in its
 * saved state has changed without a trace.
 *
 * A program that writes meanwhile leaves a trace: the kernel moves the ctime before the new bytes can be read
 * (file_update_time, called by write(2) before it copies and by page_mkwrite before the page can be stored to).
 * A stat after the read therefore sees it.
 */
export class FileAudit {
  readonly #parts: FileAuditParts
  readonly #draws: readonly RandomFiles[]
  readonly #stat = new StatBuffer()
  #left: number

  /** `most`: how many files are read of all these trees together. */
  constructor(trees: readonly SavedTree[], most: number, parts: FileAuditParts) {
    this.#parts = parts
    this.#draws = most === 0 ? [] : trees.map((tree) => new RandomFiles(tree, most))
    this.#left = most
  }

  /**
   * Call it for each file that is taken over, in tree order; `stat` has its state.
   * Returns a promise when the file is to be read and the caller must wait until that can begin.
   */
  kept(place: WalkPosition, name: BytePath, entry: SavedEntry, stat: StatBuffer): Promise<void> | undefined {
    if (this.#left === 0 || !this.#isChosen(entry)) return undefined
    this.#left--
    const state = inodeState(stat)
    return this.#parts.hasher.beside(place, () => this.#read(place, name, entry, state))
  }

  #isChosen({ tree, index }: SavedEntry): boolean {
    for (const draw of this.#draws) if (draw.tree === tree) return draw.has(index)
    return false
  }

  async #read(place: WalkPosition, name: BytePath, entry: SavedEntry, state: State): Promise<void> {
    const ino = entry.tree.seen.ino(entry.index)
    const wrong = isSmall(state.sizeBytes)
      ? this.#small(place, name, entry, state)
      : this.#large(place, name, entry, state)
    for (const range of await wrong) this.#parts.suspects.push({ name, ino, ...range, untouched: true })
  }

  async #small(place: WalkPosition, name: BytePath, { tree, index }: SavedEntry, state: State): Promise<ByteRange[]> {
    const { fd } = place.held
    const { hashes, outcomes } = await this.#parts.pool.hashFiles(fd, [name], [state.sizeBytes])
    // An unreadable file is no evidence of a change: the checkpoint does not need to read it.
    if (outcomes[0] !== 0 || hashes.equals(tree.manifest.file(index).hash)) return []
    const same = statAgain(fd, name, this.#stat) && sameState(state, this.#stat)
    return same ? [{ offset: 0, length: state.sizeBytes }] : []
  }

  async #large(place: WalkPosition, name: BytePath, { tree, index }: SavedEntry, state: State): Promise<ByteRange[]> {
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
      // As with a small file.
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
