import { WherryError } from '../../model/errors.ts'
import type { FaultPoint } from '../../runtime/fault-point.ts'
import { requireSpace, smallFileBytes } from '../disk/free-space.ts'
import type { ContentIndex } from '../manifest/content-index.ts'
import type { Snapshot } from '../snapshot/snapshot.ts'
import type { BlockRun, Piece, StageProgress, Want } from '../tree-contract.ts'
import { BlockCoalescer } from './coalesce-blocks.ts'
import { type BlockGroup, IncomingRun } from './incoming-run.ts'
import { freshFile } from './inspect-stage.ts'
import { LocalFill } from './local-fill.ts'
import { PendingRequests } from './pending-requests.ts'
import { PendingWrites } from './pending-writes.ts'
import { wantedData, wantedLists } from './plan-requests.ts'
import type { Stage } from './stage.ts'
import type { StagedState } from './staged-state.ts'
import { LargeFiles } from './write-large-files.ts'
import { createSmallFiles } from './write-small-files.ts'

/** What may have come and not be written yet: four blocks of the largest size, sixteen groups of the smallest. More only takes memory; beyond it the sender waits. */
const UNWRITTEN_MAX_BYTES = 16 * 1024 * 1024
/** Each holds a directory or a file open, and a system may allow 1,024 of them. */
const UNWRITTEN_MAX_TASKS = 64

export interface AttemptParts {
  readonly stage: Stage
  /** Directory for the check of free space, and the volume's name for messages. */
  readonly directory: string
  readonly volume: string
  readonly state: StagedState
  readonly mine: Snapshot
  readonly sources: ContentIndex
  readonly signal: AbortSignal
  readonly faultPoint: FaultPoint
}

/** A list that is coming. */
interface IncomingList {
  readonly index: number
  readonly list: Buffer
  filled: number
}

/** One go at bringing in what a plan lacks, from the comparison on: what to ask for, and what becomes of the answers. */
export class Attempt {
  readonly #parts: AttemptParts
  readonly #files: LargeFiles
  readonly #fill: LocalFill
  readonly #tasks = new PendingWrites()
  readonly #outstanding = new PendingRequests()
  readonly #runs = new Map<string, IncomingRun>()
  readonly #gathering = new BlockCoalescer((index, group) => this.#write(index, group))
  /** Files of runs that have ended, of which something is still being gathered. */
  readonly #ended: number[] = []
  readonly #lists: Iterator<number>
  #incoming: IncomingList | null = null
  #data: Generator<Want> | null = null
  #preparing: Promise<void> | null = null
  #bytesDone = 0
  #bytesTotal = 0

  constructor(parts: AttemptParts) {
    const { stage, state, mine, sources, faultPoint } = parts
    this.#parts = parts
    this.#files = new LargeFiles(state, stage.survey, stage.parts.pool, faultPoint)
    this.#fill = new LocalFill(stage.parts, state, mine, sources)
    this.#lists = wantedLists(state, stage.parts)
  }

  /** What needs no network; after a first check of free space. */
  async begin(): Promise<void> {
    const { state, directory, volume, signal } = this.#parts
    const listBytes = this.#estimate()
    const { bytes, count } = this.#smallSpace()
    await requireSpace(directory, volume, bytes + listBytes, count)
    await this.#fill.small(signal)
    await this.#fill.lists(signal)
    for (const index of state.plan.all('file')) {
      if (state.complete.has(index) && !state.target.isLarge(index))
        this.#bytesDone += state.target.file(index).sizeBytes
    }
  }

  /** Sums up what has to come, as far as it is known without lists; answers the bytes of lists that have to come. */
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

  async next(): Promise<Want | null> {
    for (;;) {
      this.#check()
      const want = this.#data === null ? this.#nextList() : (this.#data.next().value ?? null)
      if (want !== null) {
        this.#outstanding.add(want)
        return want
      }
      if (this.#data === null && this.#outstanding.lists === 0) {
        this.#preparing ??= this.#prepare()
        await this.#preparing
      } else if (this.#outstanding.count > 0) await this.#tasks.changed()
      else return null
    }
  }

  #nextList(): Want | null {
    const { done, value } = this.#lists.next()
    if (done === true) return null
    return { kind: 'hashes', index: value, bytes: this.#parts.state.target.listBytes(value) }
  }

  /** All lists are here: compares large files with them, checks the space for good, takes from this host what it has. */
  async #prepare(): Promise<void> {
    const { stage, state, mine, directory, volume, signal } = this.#parts
    const small = this.#smallSpace()
    let [needed, total, staged] = [small.bytes, 0, 0]
    for (const index of state.large()) {
      signal.throwIfAborted()
      const need = await stage.survey.large(state, mine, index, true, signal)
      if (need === null) continue
      needed += need.stageBytes + need.growthBytes
      total += need.totalBytes
      staged += need.totalBytes - need.stageBytes
    }
    await requireSpace(directory, volume, needed, small.count)
    this.#bytesTotal = total
    for (const index of state.plan.all('file')) {
      if (!state.target.isLarge(index)) this.#bytesTotal += state.target.file(index).sizeBytes
    }
    this.#bytesDone += staged
    await this.#fillLarge()
    this.#data = wantedData(state, stage.parts, this.#files)
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
    this.#outstanding.check({ kind: 'files', indexes })
    const expected = indexes.reduce((sum, index) => sum + state.target.file(index).sizeBytes, 0)
    if (data.length !== expected) throw misfit(`${data.length} bytes came for files of ${expected} bytes`)
    if (!changed.every((position) => Number.isSafeInteger(position) && position >= 0 && position < indexes.length)) {
      throw misfit('a file that was not asked for is said to have changed')
    }
    this.#outstanding.remove({ kind: 'files', indexes })
    const skipped = new Set(changed)
    const { pool, whole } = stage.parts
    const work = createSmallFiles(pool, whole, state.target, indexes, data, (position) => skipped.has(position))
    this.#tasks.add(
      expected,
      work.then((right) => this.#made(right)),
    )
    await this.#room()
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
    this.#outstanding.check({ kind: 'hashes', index })
    this.#incoming ??= { index, list: Buffer.allocUnsafeSlow(state.target.listBytes(index)), filled: 0 }
    const { list, filled } = this.#incoming
    if (this.#incoming.index !== index) throw misfit('two lists of block hashes came at the same time')
    if (filled + chunk.length > list.length) throw misfit('a list of block hashes is too long')
    chunk.copy(list, filled)
    this.#incoming.filled += chunk.length
    if (!end) return
    this.#incoming = null
    if (filled + chunk.length !== list.length) throw misfit('a list of block hashes is too short')
    stage.parts.lists.add(state.target.file(index).hash, list)
    this.#outstanding.remove({ kind: 'hashes', index })
    this.#parts.faultPoint('list-received')
    this.#tasks.wake()
  }

  async takePiece(run: BlockRun, piece: Piece): Promise<void> {
    this.#check()
    const group = this.#run(run).take(piece)
    if (group !== null) this.#gathering.add(run.index, group)
    await this.#room()
  }

  async endBlocks(run: BlockRun): Promise<void> {
    this.#check()
    const group = this.#run(run).finish()
    this.#outstanding.remove({ kind: 'blocks', run })
    this.#runs.delete(`${run.index} ${run.first}`)
    if (group !== null) this.#gathering.add(run.index, group)
    this.#ended.push(run.index)
    if (this.#outstanding.count === 0) this.#gathering.flush()
    if (this.#gathering.isEmpty) this.#leave()
    this.#tasks.wake()
    await this.#room()
  }

  #run(run: BlockRun): IncomingRun {
    this.#outstanding.check({ kind: 'blocks', run })
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
    this.#tasks.add(group.bytes, work)
    this.#leave()
  }

  #leave(): void {
    for (const index of this.#ended.splice(0)) this.#files.leave(index)
  }

  /** Waits until little enough is unwritten. */
  async #room(): Promise<void> {
    while (this.#tasks.bytes > UNWRITTEN_MAX_BYTES || this.#tasks.running > UNWRITTEN_MAX_TASKS) {
      this.#check()
      await this.#tasks.changed()
    }
  }

  async finish(): Promise<boolean> {
    this.#gathering.flush()
    await this.#tasks.ended()
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

  /** Writes what has come, waits until nothing is written any more and gives back what is open. The signal has been aborted, or all has ended. */
  async close(): Promise<void> {
    this.#tasks.wake()
    this.#gathering.flush()
    await this.#preparing?.catch(() => {})
    await this.#tasks.ended()
    this.#files.close()
  }

  #check(): void {
    this.#parts.signal.throwIfAborted()
    this.#tasks.check()
  }
}

function misfit(what: string): WherryError {
  return new WherryError('REQUEST_INVALID', `The sender's answer does not fit what was asked for: ${what}.`)
}
