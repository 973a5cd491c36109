import { closeSync } from 'node:fs'
import { forEachLimit } from '../../runtime/for-each-limit.ts'
import { errnoOf } from '../../sys/failure.ts'
import { HASH_BYTES, isHash } from '../blocks/block-size.ts'
import { openOwn } from '../inode/directory.ts'
import type { ContentIndex } from '../manifest/content-index.ts'
import { groupSmallFiles } from '../manifest/file-groups.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockRun } from '../tree-contract.ts'
import type { StageInspectionParts } from './inspect-stage.ts'
import { requestedRuns } from './requested-runs.ts'
import type { StagedFile } from './staged-file.ts'
import type { StagedState } from './staged-state.ts'
import type { LargeFileWriter } from './write-large-files.ts'
import { createSmallFiles } from './write-small-files.ts'

/** Stages files that this host has at another path of its own tree: they were renamed or copied. */
export class LocalFill {
  readonly #parts: StageInspectionParts
  readonly #state: StagedState
  readonly #mine: Snapshot
  readonly #sources: ContentIndex

  constructor(parts: StageInspectionParts, state: StagedState, mine: Snapshot, sources: ContentIndex) {
    this.#parts = parts
    this.#state = state
    this.#mine = mine
    this.#sources = sources
  }

  /** Stages small files. A file with other content by now is left to be requested. */
  async small(signal: AbortSignal): Promise<void> {
    const { target } = this.#state
    const parentOfSource = (index: number) => this.#mine.manifest.parent(this.#source(index))
    const groups = groupSmallFiles(target, this.#withSource(), parentOfSource)
    await forEachLimit(groups, 2 * this.#parts.pool.threads, async (group) => {
      signal.throwIfAborted()
      await this.#smallGroup(group)
    })
  }

  *#withSource(): Generator<number> {
    for (const index of this.#state.smallMissing()) if (this.#source(index) >= 0) yield index
  }

  async #smallGroup(group: readonly number[]): Promise<void> {
    const { target, complete, present } = this.#state
    const sources = group.map((index) => this.#source(index))
    const read = await this.#readOwn(sources)
    if (read === null) return
    const { data, outcomes } = read
    const skipped = (position: number) => outcomes[position] !== 0
    const right = await createSmallFiles(this.#parts.pool, this.#parts.whole, target, group, data, skipped)
    for (const index of right) {
      present.add(index)
      complete.add(index)
    }
  }

  async #readOwn(sources: readonly number[]): Promise<{ data: Buffer; outcomes: Uint16Array } | null> {
    const { manifest } = this.#mine
    let fd: number
    try {
      fd = this.#parts.tree.directory(manifest, manifest.parent(sources[0] ?? 0))
    } catch (error) {
      if (gone(error)) return null
      throw error
    }
    try {
      const names = sources.map((index) => manifest.name(index))
      const sizes = sources.map((index) => manifest.file(index).sizeBytes)
      return await this.#parts.pool.readFiles(fd, names, sizes)
    } finally {
      closeSync(fd)
    }
  }

  /** Takes lists of large files from this host's own lists, so that they need not be requested. */
  async lists(signal: AbortSignal): Promise<void> {
    for (const index of this.#state.large()) {
      signal.throwIfAborted()
      const { hash } = this.#state.target.file(index)
      const source = this.#parts.lists.has(hash) ? -1 : this.#source(index)
      const list = source < 0 ? null : await this.#mine.lists.list(source)
      if (list !== null) this.#parts.lists.add(hash, list)
    }
  }

  /** Whether this host has the content of a file at another path. */
  has(index: number): boolean {
    return this.#source(index) >= 0
  }

  /**
   * Copies the missing blocks of a large file, and counts those with the right hash.
   * Returns their bytes.
   */
  async large(file: StagedFile, list: Buffer, files: LargeFileWriter, signal: AbortSignal): Promise<number> {
    let from: number
    try {
      from = this.#parts.tree.within(this.#mine.manifest, this.#source(file.index), openOwn)
    } catch (error) {
      if (gone(error)) return 0
      throw error
    }
    let bytes = 0
    files.enter(file, list)
    try {
      file.dirty = true
      const to = files.descriptor(file.index)
      const runs = [...requestedRuns(file, list, this.#parts.zeros)]
      await forEachLimit(runs, 2 * this.#parts.pool.threads, async (run) => {
        signal.throwIfAborted()
        const copied = await this.#copyRun(from, to, file, list, run)
        bytes += copied
      })
      return bytes
    } finally {
      closeSync(from)
      files.leave(file.index)
    }
  }

  async #copyRun(
    from: number,
    to: number,
    file: StagedFile,
    list: Buffer,
    { first, count }: BlockRun,
  ): Promise<number> {
    let bytes = 0
    const offset = first * file.blockBytes
    const length = Math.min(count * file.blockBytes, file.sizeBytes - offset)
    await this.#parts.pool.copyRanges(from, to, [{ offset, length }])
    const hashes = await this.#parts.pool.hashBlocks(to, file.sizeBytes, first, count)
    for (let nth = 0; nth < count; nth++) {
      const hash = hashes.subarray(nth * HASH_BYTES, (nth + 1) * HASH_BYTES)
      if (!isHash(list, first + nth, hash)) continue
      file.staged.add(first + nth)
      bytes += file.bytesOf(first + nth)
    }
    return bytes
  }

  #source(index: number): number {
    const { sizeBytes, hash } = this.#state.target.file(index)
    return this.#sources.find(sizeBytes, hash)
  }
}

/** Whether the own tree has changed since its scan. */
function gone(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errnoOf(error) ?? '')
}
