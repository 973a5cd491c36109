import { closeSync, ftruncateSync } from 'node:fs'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { openDirect } from '../../sys/direct.ts'
import { FLAG_NOCOW } from '../../sys/flags.ts'
import { HASH_BYTES, pickRows } from '../blocks/block-size.ts'
import { changeFlags } from '../inode/flags.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { BlockPool, Extent } from '../workers/contract.ts'
import type { BlockGroup } from './incoming-run.ts'
import type { StageInspection } from './inspect-stage.ts'
import type { StagedFile } from './staged-file.ts'
import type { StagedState } from './staged-state.ts'

/** Descriptors kept open for files that nothing is being written to. */
const IDLE_OPEN = 16

interface FileUnderWay {
  readonly file: StagedFile
  readonly list: Buffer
  fd: number
  direct: number | null
  /** Requested runs, and others that still need the file. */
  users: number
  /** Writes that have not ended. */
  writes: number
}

/**
 * Writes large files.
 * Each is open from its first block to its last, and completed when all is correct.
 */
export class LargeFileWriter {
  readonly #state: StagedState
  readonly #inspection: StageInspection
  readonly #pool: BlockPool
  readonly #faultPoint: FaultPoint
  readonly #underWay = new Map<number, FileUnderWay>()
  #open = 0

  constructor(state: StagedState, inspection: StageInspection, pool: BlockPool, faultPoint: FaultPoint) {
    this.#state = state
    this.#inspection = inspection
    this.#pool = pool
    this.#faultPoint = faultPoint
  }

  /** Announces blocks of a file; call it once for each `leave`. */
  enter(file: StagedFile, list: Buffer): void {
    const known = this.#underWay.get(file.index)
    if (known !== undefined) known.users++
    else this.#underWay.set(file.index, { file, list, fd: -1, direct: null, users: 1, writes: 0 })
    this.#state.files.set(file.index, file)
  }

  get(index: number): StagedFile | undefined {
    return this.#underWay.get(index)?.file
  }

  again(index: number): void {
    this.#get(index).users++
  }

  /** The opposite of `enter` and `again`. The last call completes the file, if all is correct by then. */
  leave(index: number): void {
    const it = this.#get(index)
    it.users--
    this.#settle(it)
  }

  /**
   * Checks and writes blocks; resolves when that has ended.
   * Returns the bytes of blocks that were correct and are not all hole.
   */
  async write(index: number, { blocks, extents }: BlockGroup): Promise<number> {
    const it = this.#get(index)
    it.writes++
    try {
      if (it.fd < 0) this.#openFile(it)
      const expected = pickRows(it.list, blocks, HASH_BYTES)
      const { fd, direct, file } = it
      const { sizeBytes, dirty } = file
      const withData = blocksOf(extents, file.blockBytes)
      const good = await this.#pool.writeBlocks({ fd, sizeBytes, blocks, expected, extents, punch: dirty, direct })
      let bytes = 0
      for (const [nth, block] of blocks.entries()) {
        if (good[nth] !== 1 || file.staged.has(block)) continue
        file.staged.add(block)
        if (withData.has(block)) bytes += file.bytesOf(block)
      }
      return bytes
    } finally {
      it.writes--
      this.#settle(it)
    }
  }

  /** Returns an open descriptor of the staged file, valid while a user of it is entered. */
  descriptor(index: number): number {
    const it = this.#get(index)
    if (it.fd < 0) this.#openFile(it)
    return it.fd
  }

  /** Closes all files; no write may be under way. */
  close(): void {
    for (const it of this.#underWay.values()) this.#closeFile(it)
    this.#underWay.clear()
  }

  #settle(it: FileUnderWay): void {
    if (it.writes > 0) return
    if (it.users > 0) {
      if (this.#open > IDLE_OPEN) this.#closeFile(it)
      return
    }
    this.#closeFile(it)
    this.#underWay.delete(it.file.index)
    if (this.#state.complete.has(it.file.index) || !it.file.complete()) return
    this.#inspection.complete(this.#state, it.file)
    this.#faultPoint('large-file-completed')
  }

  #openFile(it: FileUnderWay): void {
    const { target, present } = this.#state
    const { index, sizeBytes } = it.file
    const mirror = this.#inspection.mirrorOf(this.#state, index)
    it.fd = mirror.open(target, index)
    this.#open++
    // Files that have data cannot get the flag any more.
    if (!present.has(index) && wantsNoCow(target, index)) {
      mirror.within(target, index, (place) => changeFlags(place, FLAG_NOCOW))
    }
    present.add(index)
    ftruncateSync(it.fd, sizeBytes)
    // A large new file must not push data in use out of the page cache. Direct writes also halve the CPU time.
    if (it.file.own === null) it.direct = openDirect(it.fd)
  }

  #closeFile(it: FileUnderWay): void {
    if (it.fd < 0) return
    closeSync(it.fd)
    if (it.direct !== null) closeSync(it.direct)
    it.fd = -1
    it.direct = null
    this.#open--
  }

  #get(index: number): FileUnderWay {
    const it = this.#underWay.get(index)
    if (it === undefined) throw new TypeError(`no blocks of file ${index} are under way`)
    return it
  }
}

/** Returns the blocks that the data lies in. */
function blocksOf(extents: readonly Extent[], blockBytes: number): Set<number> {
  const blocks = new Set<number>()
  for (const { offset, data } of extents) {
    const last = Math.floor((offset + data.length - 1) / blockBytes)
    for (let block = Math.floor(offset / blockBytes); block <= last; block++) blocks.add(block)
  }
  return blocks
}

function wantsNoCow(target: Manifest, index: number): boolean {
  const entry = target.body(index)
  return entry.kind === 'file' && (entry.flags & FLAG_NOCOW) !== 0
}
