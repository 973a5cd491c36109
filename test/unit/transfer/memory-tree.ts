import { WherryError } from '../../../agent/model/errors.ts'
import { blockBytesOf, blockCountOf, HASH_BYTES, isSmall } from '../../../agent/store/blocks/block-size.ts'
import {
  type BlockRequest,
  type BlockRun,
  FILES_MAX,
  FILES_MAX_BYTES,
  type Piece,
  RUN_MAX_BYTES,
  type TreeReader,
  type TreeWriter,
} from '../../../agent/store/tree-contract.ts'
import { digest } from './kit.ts'

interface Entry {
  readonly size: number
  readonly hash: string
}

function blockOf(data: Buffer, block: number): Buffer {
  const bytes = blockBytesOf(data.length)
  return data.subarray(block * bytes, (block + 1) * bytes)
}

function hashList(data: Buffer): Buffer {
  const hashes = Array.from({ length: blockCountOf(data.length) }, (_, nth) => digest(blockOf(data, nth)))
  return Buffer.from(hashes.join(''), 'hex')
}

/** Returns a copy with an ArrayBuffer of its own, as a reader has to return it. */
function own(data: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(data.length)
  data.copy(copy)
  return copy
}

/** A tree in memory. Larger files are sent in pieces of `pieceBytes`; `changed` files differ from their manifest. */
export class MemoryReader implements TreeReader {
  readonly contents: readonly Buffer[]
  readonly pieceBytes: number
  readonly changed = new Set<number>()
  closed = false
  /** Awaited before each piece: makes the reader slow. */
  beforePiece: () => Promise<void> | void = () => {}
  sentBytes = 0
  readonly #manifest: Buffer

  constructor(contents: readonly Buffer[], pieceBytes = 64 * 1024) {
    this.contents = contents
    this.pieceBytes = pieceBytes
    const hashOf = (file: Buffer) => digest(isSmall(file.length) ? file : hashList(file))
    this.#manifest = Buffer.from(
      JSON.stringify(contents.map((file): Entry => ({ size: file.length, hash: hashOf(file) }))),
    )
  }

  get hash(): string {
    return digest(this.#manifest)
  }

  async *manifest(): AsyncGenerator<Buffer> {
    for (let at = 0; at < this.#manifest.length; at += 10_000) yield this.#manifest.subarray(at, at + 10_000)
  }

  async files(indexes: readonly number[]) {
    const data = Buffer.concat(
      indexes.map((index) => {
        const file = this.#file(index)
        if (!isSmall(file.length)) throw new WherryError('REQUEST_INVALID', `file ${index} is not small`)
        return this.changed.has(index) ? Buffer.alloc(file.length) : file
      }),
    )
    await this.beforePiece()
    const changed = [...indexes.keys()].filter((nth) => this.changed.has(indexes[nth] ?? -1))
    return { data: own(data), changed }
  }

  async *hashes(index: number): AsyncGenerator<Buffer> {
    const list = hashList(this.#file(index))
    for (let at = 0; at < list.length; at += 1_000) yield own(list.subarray(at, at + 1_000))
  }

  async *blocks({ index, first, count }: BlockRun): AsyncGenerator<Piece> {
    const file = this.#file(index)
    if (first + count > blockCountOf(file.length)) throw new WherryError('REQUEST_INVALID', `no such blocks`)
    if (this.changed.has(index)) throw new WherryError('TREE_CHANGED', `file ${index} changed`)
    const end = Math.min((first + count) * blockBytesOf(file.length), file.length)
    for (let at = first * blockBytesOf(file.length); at < end; at += this.pieceBytes) {
      const data = file.subarray(at, Math.min(at + this.pieceBytes, end))
      this.sentBytes += data.length
      await this.beforePiece()
      yield { offset: at, data: own(data) }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true
  }

  #file(index: number): Buffer {
    const file = this.contents[index]
    if (file === undefined) throw new WherryError('REQUEST_INVALID', `no file ${index}`)
    return file
  }
}

/** A staging area in memory that outlives a pull. */
export class MemoryWriter implements TreeWriter {
  entries: Entry[] = []
  files: { data: Buffer; done: boolean }[] = []
  /** Called before each write: may wait or throw. */
  beforeWrite: (index: number, offset: number) => Promise<void> | void = () => {}
  begins = 0
  readonly #lists = new Map<number, Buffer[]>()
  #wants: BlockRequest[] = []
  #outstanding = 0
  #changed: PromiseWithResolvers<void> = Promise.withResolvers()

  async begin(manifest: AsyncIterable<Buffer>): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of manifest) chunks.push(chunk)
    this.entries = JSON.parse(Buffer.concat(chunks).toString()) as Entry[]
    this.begins += 1
    if (this.files.length === 0)
      this.files = this.entries.map(({ size }) => ({ data: Buffer.alloc(size), done: false }))
    this.#outstanding = 0
    this.#wants = []
    this.#lists.clear()
    this.#wantSmall()
    for (const [index, { data, done }] of this.files.entries()) {
      if (done || isSmall(data.length)) continue
      this.#wants.push({ kind: 'hashes', index, bytes: blockCountOf(data.length) * HASH_BYTES })
    }
  }

  async next(): Promise<BlockRequest | null> {
    const attempt = this.begins
    while (this.#wants.length === 0 && this.#outstanding > 0) await this.#changed.promise
    // A pull that failed may have left this call behind.
    if (attempt !== this.begins) return null
    const want = this.#wants.shift()
    if (want !== undefined) this.#outstanding += 1
    return want ?? null
  }

  async takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void> {
    let at = 0
    for (const [nth, index] of indexes.entries()) {
      const file = this.#file(index)
      await this.beforeWrite(index, 0)
      at += data.copy(file.data, 0, at, at + file.data.length)
      file.done = !changed.includes(nth) && digest(file.data) === this.entries[index]?.hash
    }
    if (at !== data.length) throw new WherryError('REQUEST_INVALID', 'the sizes do not fit')
    this.#answered()
  }

  async takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void> {
    const chunks = [...(this.#lists.get(index) ?? []), chunk]
    this.#lists.set(index, chunks)
    if (!end) return
    const list = Buffer.concat(chunks)
    if (digest(list) !== this.entries[index]?.hash) throw new WherryError('HASH_MISMATCH', 'not the hashes of the file')
    for (let block = 0; block < list.length / HASH_BYTES; block++) {
      if (!this.#has(index, block)) this.#wantBlock(index, block)
    }
    this.#file(index).done = this.#complete(index)
    this.#answered()
  }

  async takePiece({ index, first, count }: BlockRun, { offset, data }: Piece): Promise<void> {
    const file = this.#file(index)
    const bytes = blockBytesOf(file.data.length)
    if (offset < first * bytes || offset + data.length > (first + count) * bytes)
      throw new WherryError('REQUEST_INVALID', 'data outside of the run')
    await this.beforeWrite(index, offset)
    data.copy(file.data, offset)
  }

  async endBlocks({ index }: BlockRun): Promise<void> {
    this.#file(index).done = this.#complete(index)
    this.#answered()
  }

  async finish(): Promise<boolean> {
    return this.files.every((file) => file.done)
  }

  /** Bytes of large files' blocks that are complete and right. */
  goodBytes(contents: readonly Buffer[]): number {
    return this.files.reduce((sum, { data }, index) => {
      const source = contents[index] ?? Buffer.alloc(0)
      const good = Array.from({ length: blockCountOf(data.length) }, (_, nth) => blockOf(data, nth))
      return (
        sum +
        good.filter((block, nth) => block.equals(blockOf(source, nth))).reduce((all, { length }) => all + length, 0)
      )
    }, 0)
  }

  progress() {
    return { bytesDone: 0, bytesTotal: 0, filesDone: 0, filesTotal: 0 }
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #wantSmall(): void {
    let indexes: number[] = []
    let bytes = 0
    const flush = () => {
      if (indexes.length > 0) this.#wants.push({ kind: 'files', indexes, bytes })
      indexes = []
      bytes = 0
    }
    for (const [index, { data, done }] of this.files.entries()) {
      if (done || !isSmall(data.length)) continue
      if (indexes.length === FILES_MAX || bytes + data.length > FILES_MAX_BYTES) flush()
      indexes.push(index)
      bytes += data.length
    }
    flush()
  }

  #wantBlock(index: number, block: number): void {
    const { data } = this.#file(index)
    const bytes = blockOf(data, block).length
    const last = this.#wants.at(-1)
    const joins = last?.kind === 'blocks' && last.run.index === index && last.run.first + last.run.count === block
    if (last?.kind === 'blocks' && joins && last.bytes + bytes <= RUN_MAX_BYTES) {
      const run = { ...last.run, count: last.run.count + 1 }
      this.#wants[this.#wants.length - 1] = { kind: 'blocks', run, bytes: last.bytes + bytes }
    } else {
      this.#wants.push({ kind: 'blocks', run: { index, first: block, count: 1 }, bytes })
    }
  }

  #has(index: number, block: number): boolean {
    const list = Buffer.concat(this.#lists.get(index) ?? [])
    const hash = list.toString('hex', block * HASH_BYTES, (block + 1) * HASH_BYTES)
    return digest(blockOf(this.#file(index).data, block)) === hash
  }

  #complete(index: number): boolean {
    return digest(hashList(this.#file(index).data)) === this.entries[index]?.hash
  }

  #answered(): void {
    this.#outstanding -= 1
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  #file(index: number) {
    const file = this.files[index]
    if (file === undefined) throw new Error(`no file ${index} in the manifest`)
    return file
  }
}
