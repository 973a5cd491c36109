import { closeSync, ftruncateSync } from 'node:fs'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { openDirect } from '../../sys/direct.ts'
import { FLAG_NOCOW } from '../../sys/flags.ts'
import { HASH_BYTES, rowsOf } from '../blocks/block-size.ts'
import { changeFlags } from '../inode/flags.ts'
import type { Manifest } from '../manifest/manifest.ts'
import type { BlockPool, Extent } from '../workers/contract.ts'
import type { BlockGroup } from './incoming-run.ts'
import type { StageInspection } from './inspect-stage.ts'
import type { StagedFile } from './staged-file.ts'
import type { StagedState } from './staged-state.ts'

/** Descriptors that are kept for files nothing is being written to at the moment. */
const IDLE_OPEN = 16

interface UnderWay {
  readonly file: StagedFile
  readonly list: Buffer
  fd: number
  direct: number | null
  /** Whoever still needs it: runs that were asked for, whoever asks. */
  users: number
  /** Writes that have not ended. */
  writes: number
}

/** Large files that blocks are coming for. Each is open from its first block to its last, and made complete when all is right. */
export class LargeFiles {
  readonly #state: StagedState
  readonly #survey: StageInspection
  readonly #pool: BlockPool
  readonly #faultPoint: FaultPoint
  readonly #underWay = new Map<number, UnderWay>()
  #open = 0

  constructor(state: StagedState, survey: StageInspection, pool: BlockPool, faultPoint: FaultPoint) {
    this.#state = state
    this.#survey = survey
    this.#pool = pool
    this.#faultPoint = faultPoint
  }

  /** Says that blocks of a file will come; once more for each `leave`. */
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

  /** The opposite of `enter` and `again`. The file is made complete by whoever leaves last, if all is right by then. */
  leave(index: number): void {
    const it = this.#get(index)
    it.users--
    this.#settle(it)
  }

  /** Checks and writes blocks; resolves when that has ended. Answers the bytes of blocks that were right and are not all hole. */
  async write(index: number, { blocks, extents }: BlockGroup): Promise<number> {
    const it = this.#get(index)
    it.writes++
    try {
      if (it.fd < 0) this.#openFile(it)
      const expected = rowsOf(it.list, blocks, HASH_BYTES)
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

  /** An open descriptor of the staged file, for as long as a user of it is entered. */
  descriptor(index: number): number {
    const it = this.#get(index)
    if (it.fd < 0) this.#openFile(it)
    return it.fd
  }

  /** Closes all; nothing may be being written. */
  close(): void {
    for (const it of this.#underWay.values()) this.#closeFile(it)
    this.#underWay.clear()
  }

  #settle(it: UnderWay): void {
    if (it.writes > 0) return
    if (it.users > 0) {
      if (this.#open > IDLE_OPEN) this.#closeFile(it)
      return
    }
    this.#closeFile(it)
    this.#underWay.delete(it.file.index)
    if (this.#state.complete.has(it.file.index) || !it.file.complete()) return
    this.#survey.complete(this.#state, it.file)
    this.#faultPoint('large-file-completed')
  }

  #openFile(it: UnderWay): void {
    const { target, present } = this.#state
    const { index, sizeBytes } = it.file
    const mirror = this.#survey.mirrorOf(this.#state, index)
    it.fd = mirror.open(target, index)
    this.#open++
    // Files that have data cannot get it any more.
    if (!present.has(index) && wantsNoCow(target, index)) {
      mirror.within(target, index, (place) => changeFlags(place, FLAG_NOCOW))
    }
    present.add(index)
    ftruncateSync(it.fd, sizeBytes)
    // A large file that is new here must not push what is in use out of the page cache; it also costs half the CPU time.
    if (it.file.own === null) it.direct = openDirect(it.fd)
  }

  #closeFile(it: UnderWay): void {
    if (it.fd < 0) return
    closeSync(it.fd)
    if (it.direct !== null) closeSync(it.direct)
    it.fd = -1
    it.direct = null
    this.#open--
  }

  #get(index: number): UnderWay {
    const it = this.#underWay.get(index)
    if (it === undefined) throw new TypeError(`no blocks of file ${index} are under way`)
    return it
  }
}

/** Blocks that some of the data lies in. */
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
