import type { FaultPoint } from '../../runtime/fault-point.ts'
import { requireSpareSpace, smallFileBytes } from '../disk/free-space.ts'
import type { ContentIndex } from '../manifest/content-index.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockRequest, BlockRun, Piece, StageProgress } from '../tree-contract.ts'
import { BlockCoalescer } from './coalesce-blocks.ts'
import { responseMismatch } from './errors.ts'
import { IncomingList } from './incoming-list.ts'
import { type BlockGroup, IncomingRun } from './incoming-run.ts'
import { freshFile } from './inspect-stage.ts'
import { LocalFill } from './local-fill.ts'
import { PendingRequests } from './pending-requests.ts'
import { PendingWrites } from './pending-writes.ts'
import { requestedData, requestedLists } from './plan-requests.ts'
import type { Stage } from './stage.ts'
import type { StagedState } from './staged-state.ts'
import { LargeFileWriter } from './write-large-files.ts'
import { createSmallFiles } from './write-small-files.ts'

/**
 * Bytes that may be received and not written yet: four blocks of the largest size, sixteen groups of the smallest.
 * More only takes memory. Beyond it the sender waits.
 */
const UNWRITTEN_MAX_BYTES = 16 * 1024 * 1024
/** Received between two checks of the free space. */
const CHECKED_EVERY_BYTES = 64 * 1024 * 1024
/** Each holds a directory or a file open, and a system may allow 1,024 open files. */
const UNWRITTEN_MAX_TASKS = 64

export interface ReceiveSessionParts {
  readonly stage: Stage
  /** Directory for the check of free space. */
  readonly directory: string
  readonly volume: string
  readonly state: StagedState
  readonly mine: Snapshot
  readonly sources: ContentIndex
  readonly signal: AbortSignal
  readonly faultPoint: FaultPoint
}

/** One attempt to receive what a plan lacks: makes the requests and takes the responses. */
export class ReceiveSession {
  readonly #parts: ReceiveSessionParts
  readonly #files: LargeFileWriter
  readonly #fill: LocalFill
  readonly #writes = new PendingWrites()
  readonly #pending = new PendingRequests()
  readonly #runs = new Map<string, IncomingRun>()
  readonly #coalescer = new BlockCoalescer((index, group) => this.#write(index, group))
  /** Files whose runs have ended, but some of whose blocks wait in the coalescer. */
  readonly #ended: number[] = []
  readonly #lists: Iterator<number>
  #incoming: IncomingList | null = null
  #data: Generator<BlockRequest> | null = null
  #preparing: Promise<void> | null = null
  #bytesDone = 0
  #bytesTotal = 0
  /** Received since the free space was checked. */
  #unchecked = 0

  constructor(parts: ReceiveSessionParts) {
    const { stage, state, mine, sources, faultPoint } = parts
    this.#parts = parts
    this.#files = new LargeFileWriter(state, stage.inspection, stage.parts.pool, faultPoint)
    this.#fill = new LocalFill(stage.parts, state, mine, sources)
    this.#lists = requestedLists(state, stage.parts)
  }

  /** Stages what needs no network, after a first check of free space. */
  async begin(): Promise<void> {
    const { state, directory, volume, signal } = this.#parts
    const listBytes = this.#estimate()
    const { bytes, count } = this.#smallSpace()
    await requireSpareSpace(directory, volume, bytes + listBytes, count)
    await this.#fill.small(signal)
    await this.#fill.lists(signal)
    for (const index of state.plan.all('file')) {
      if (state.complete.has(index) && !state.target.isLarge(index))
        this.#bytesDone += state.target.file(index).sizeBytes
    }
  }

  /**
   * Sums up what has to be received, as far as it is known without lists.
   * Returns the bytes of missing lists.
   */
  #estimate(): number {
    const { state, stage } = this.#parts
    let listBytes = 0
    for (const index of state.plan.all('file', 'blocks')) {
      const { sizeBytes, hash } = state.target.file(index)
      this.#bytesTotal += sizeBytes
      if (state.target.isLarge(index) && !stage.parts.lists.has(hash)) listBytes += state.target.listBytes(index)
    }
    return listBytes
  }

  #smallSpace(): { bytes: number; count: number } {
    let [bytes, count] = [0, 0]
    for (const index of this.#parts.state.smallMissing()) {
      bytes += smallFileBytes(this.#parts.state.target.file(index).sizeBytes)
      count++
    }
    return { bytes, count }
  }

  async next(): Promise<BlockRequest | null> {
    for (;;) {
      this.#check()
      const request = this.#data === null ? this.#nextList() : (this.#data.next().value ?? null)
      if (request !== null) {
        this.#pending.add(request)
        return request
      }
      if (this.#data === null && this.#pending.lists === 0) {
        this.#preparing ??= this.#prepare()
        await this.#preparing
      } else if (this.#pending.count > 0) await this.#writes.changed()
      else return null
    }
  }

  #nextList(): BlockRequest | null {
    const { done, value } = this.#lists.next()
    if (done === true) return null
    return { kind: 'hashes', index: value, bytes: this.#parts.state.target.listBytes(value) }
  }

  /**
   * Compares large files with their lists, which are all here, and checks the space for good.
   * Then takes from this host what it has.
   */
  async #prepare(): Promise<void> {
    const { stage, state, mine, directory, volume, signal } = this.#parts
    const small = this.#smallSpace()
    let [needed, total, staged] = [small.bytes, 0, 0]
    for (const index of state.large()) {
      signal.throwIfAborted()
      const need = await stage.inspection.large(state, mine, index, true, signal)
      if (need === null) continue
      needed += need.stageBytes + need.growthBytes
      total += need.totalBytes
      staged += need.totalBytes - need.stageBytes
    }
    await requireSpareSpace(directory, volume, needed, small.count)
    this.#bytesTotal = total
    for (const index of state.plan.all('file')) {
      if (!state.target.isLarge(index)) this.#bytesTotal += state.target.file(index).sizeBytes
    }
    this.#bytesDone += staged
    await this.#fillLarge()
    this.#data = requestedData(state, stage.parts, this.#files)
    this.#parts.faultPoint('prepared')
  }

  async #fillLarge(): Promise<void> {
    const { stage, state, signal } = this.#parts
    const { lists } = stage.parts
    for (const index of state.large()) {
      const known = state.files.get(index)
      if (state.complete.has(index) || !this.#fill.has(index)) continue
      signal.throwIfAborted()
      const list = lists.read(state.target.file(index).hash)
      if (list === null) continue
      const filled = await this.#fill.large(known ?? freshFile(state, index, list, null), list, this.#files, signal)
      this.#bytesDone += filled
    }
  }

  async takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void> {
    this.#check()
    const { stage, state } = this.#parts
    this.#pending.check({ kind: 'files', indexes })
    const expected = indexes.reduce((sum, index) => sum + state.target.file(index).sizeBytes, 0)
    if (data.length !== expected) throw responseMismatch(`${data.length} bytes came for files of ${expected} bytes`)
    if (!changed.every((position) => Number.isSafeInteger(position) && position >= 0 && position < indexes.length)) {
      throw responseMismatch('it reports a change of a file that was not requested')
    }
    this.#pending.remove({ kind: 'files', indexes })
    const skipped = new Set(changed)
    const { pool, whole } = stage.parts
    const work = createSmallFiles(pool, whole, state.target, indexes, data, (position) => skipped.has(position))
    this.#writes.add(
      expected,
      work.then((right) => this.#made(right)),
    )
    await this.#room(expected)
  }

  #made(indexes: readonly number[]): void {
    const { target, present, complete } = this.#parts.state
    for (const index of indexes) {
      present.add(index)
      complete.add(index)
      this.#bytesDone += target.file(index).sizeBytes
    }
    this.#parts.faultPoint('small-files-made')
  }

  async takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void> {
    this.#check()
    const { stage, state } = this.#parts
    this.#pending.check({ kind: 'hashes', index })
    this.#incoming ??= new IncomingList(index, state.target.listBytes(index))
    if (this.#incoming.index !== index) throw responseMismatch('two lists of block hashes came at the same time')
    this.#incoming.take(chunk)
    if (!end) return
    const incoming = this.#incoming
    this.#incoming = null
    const list = incoming.finish()
    stage.parts.lists.add(state.target.file(index).hash, list)
    this.#pending.remove({ kind: 'hashes', index })
    this.#parts.faultPoint('list-received')
    this.#writes.wake()
  }

  async takePiece(run: BlockRun, piece: Piece): Promise<void> {
    this.#check()
    const group = this.#run(run).take(piece)
    if (group !== null) this.#coalescer.add(run.index, group)
    await this.#room(piece.data.length)
  }

  async endBlocks(run: BlockRun): Promise<void> {
    this.#check()
    const group = this.#run(run).finish()
    this.#pending.remove({ kind: 'blocks', run })
    this.#runs.delete(`${run.index} ${run.first}`)
    if (group !== null) this.#coalescer.add(run.index, group)
    this.#ended.push(run.index)
    if (this.#pending.count === 0) this.#coalescer.flush()
    if (this.#coalescer.isEmpty) this.#leave()
    this.#writes.wake()
    await this.#room()
  }

  #run(run: BlockRun): IncomingRun {
    this.#pending.check({ kind: 'blocks', run })
    const key = `${run.index} ${run.first}`
    const known = this.#runs.get(key)
    if (known !== undefined) return known
    const file = this.#files.get(run.index)
    if (file === undefined) throw new TypeError(`blocks of file ${run.index} are outstanding, but it is not under way`)
    const incoming = new IncomingRun(file, run)
    this.#runs.set(key, incoming)
    return incoming
  }

  #write(index: number, group: BlockGroup): void {
    const work = this.#files.write(index, group).then((bytes) => {
      this.#bytesDone += bytes
      this.#parts.faultPoint('blocks-staged')
    })
    this.#writes.add(group.bytes, work)
    this.#leave()
  }

  #leave(): void {
    for (const index of this.#ended.splice(0)) this.#files.leave(index)
  }

  /** Waits until little enough is unwritten. Rejects DISK_FULL when containers have come to need the space. */
  async #room(bytes = 0): Promise<void> {
    this.#unchecked += bytes
    if (this.#unchecked >= CHECKED_EVERY_BYTES) {
      this.#unchecked = 0
      await requireSpareSpace(this.#parts.directory, this.#parts.volume, 1)
    }
    while (this.#writes.bytes > UNWRITTEN_MAX_BYTES || this.#writes.running > UNWRITTEN_MAX_TASKS) {
      this.#check()
      await this.#writes.changed()
    }
  }

  async finish(): Promise<boolean> {
    this.#coalescer.flush()
    await this.#writes.ended()
    this.#check()
    const { complete, needed } = this.#parts.state
    this.#parts.faultPoint('all-staged')
    return complete.count === needed
  }

  progress(): StageProgress {
    const { complete, needed } = this.#parts.state
    const bytesDone = Math.min(this.#bytesDone, this.#bytesTotal)
    return { bytesDone, bytesTotal: this.#bytesTotal, filesDone: complete.count, filesTotal: needed }
  }

  /**
   * Writes what was received, waits for all writes, and closes what is open.
   * The signal has been aborted, or all has ended.
   */
  async close(): Promise<void> {
    this.#writes.wake()
    this.#coalescer.flush()
    await this.#preparing?.catch(() => {})
    await this.#writes.ended()
    this.#files.close()
  }

  #check(): void {
    this.#parts.signal.throwIfAborted()
    this.#writes.check()
  }
}
