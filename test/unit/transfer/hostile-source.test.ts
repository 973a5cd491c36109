import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import { codeOf } from '../../../agent/model/errors.ts'
import type { BlockRequest, BlockRun, Piece } from '../../../agent/store/tree-contract.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { type FrameType, framePrefix } from '../../../agent/transfer/wire/frame.ts'
import { encodeJson } from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import { encodeChanged, encodeFlag, encodeOffset } from '../../../agent/transfer/wire/request-codec.ts'
import { certs, digest, HOST, identityIn, LIVE, neverAborted, ONES_LIST, recorder, transferDirectory } from './kit.ts'
import { MemoryWriter } from './memory-tree.ts'

/** Writes what comes to a directory, and checks that it was asked for: in order, no longer than it may be. */
class StageWriter extends MemoryWriter {
  readonly #dir: string
  readonly #asked: BlockRequest[] = []
  #bytes = 0
  calls = 0

  constructor(dir: string) {
    super()
    this.#dir = dir
  }

  override async next(): Promise<BlockRequest | null> {
    const want = await super.next()
    if (want !== null) this.#asked.push(want)
    return want
  }

  override async takeFiles(indexes: readonly number[], data: Buffer, changed: readonly number[]): Promise<void> {
    const want = this.#answers('files', data, true)
    if (want.indexes !== indexes || changed.some((nth) => indexes[nth] === undefined)) throw new Error('not asked for')
    await writeFile(join(this.#dir, `files-${indexes.join('-').slice(0, 40)}`), data)
    await super.takeFiles(indexes, data, changed)
  }

  override async takeHashes(index: number, chunk: Buffer, end: boolean): Promise<void> {
    if (this.#answers('hashes', chunk, end).index !== index) throw new Error('not asked for')
    await super.takeHashes(index, chunk, end)
  }

  override async takePiece(run: BlockRun, piece: Piece): Promise<void> {
    if (this.#answers('blocks', piece.data, false).run !== run) throw new Error('not asked for')
    await super.takePiece(run, piece)
    await writeFile(join(this.#dir, `${run.index}-${piece.offset}`), piece.data)
  }

  override async endBlocks(run: BlockRun): Promise<void> {
    this.#answers('blocks', Buffer.alloc(0), true)
    await super.endBlocks(run)
  }

  #answers<K extends BlockRequest['kind']>(kind: K, data: Buffer, end: boolean): Extract<BlockRequest, { kind: K }> {
    const want = this.#asked[0]
    this.calls += 1
    this.#bytes += data.length
    if (want?.kind !== kind) throw new Error(`${kind} where ${want?.kind} was asked for`)
    if (this.#bytes > want.bytes) throw new Error(`${this.#bytes} bytes for a want of ${want.bytes}`)
    if (end && kind !== 'blocks' && this.#bytes < want.bytes) throw new Error(`only ${this.#bytes} of ${want.bytes}`)
    if (end) {
      this.#asked.shift()
      this.#bytes = 0
    }
    return want as Extract<BlockRequest, { kind: K }>
  }
}

const TREE = [
  { size: 100, hash: digest(Buffer.alloc(100, 1)) },
  { size: 0, hash: digest(Buffer.alloc(0)) },
  { size: 100_000, hash: digest(ONES_LIST) },
]

const frame = (type: FrameType, body: Buffer = Buffer.alloc(0), head?: Buffer) =>
  Buffer.concat([framePrefix(type, body.length, head), body])
const flag = fc.boolean().map(encodeFlag)
const bytes = fc.constantFrom(1, 64, 99, 100, 101, ONES_LIST.length, 34_464, 65_536, 100_000)
const offset = fc.constantFrom(0, 64, 65_535, 65_536, 99_999, 131_071, Number.MAX_SAFE_INTEGER)
/** Frames that may or may not be what should come now. */
const single: fc.Arbitrary<Buffer> = fc.oneof(
  fc.constantFrom<FrameType>('end', 'manifestEnd', 'ping').map((type) => frame(type)),
  fc.array(fc.nat(3), { minLength: 1, maxLength: 3 }).map((positions) => frame('changed', encodeChanged(positions))),
  bytes.map((length) => frame('files', Buffer.alloc(length, 1))),
  fc.tuple(bytes, flag).map(([length, head]) => frame('hashes', Buffer.alloc(length, 1), head)),
  fc.tuple(bytes, offset).map(([length, at]) => frame('piece', Buffer.alloc(length, 1), encodeOffset(at))),
  flag.map((head) => frame('runEnd', undefined, head)),
  fc.tuple(bytes, fc.integer({ min: 30, max: 200_000 })).map(([length, unpackedBytes]) => {
    const body = zstdCompressSync(Buffer.alloc(length, 1))
    return Buffer.concat([framePrefix('files', body.length, undefined, Math.max(unpackedBytes, body.length + 1)), body])
  }),
  fc.uint8Array({ minLength: 1, maxLength: 20 }).map((raw) => Buffer.from(raw)),
)
const any = fc.oneof(
  { weight: 4, arbitrary: single },
  // An end of a run behind it, as a bundle has five bytes at least.
  fc
    .array(single, { maxLength: 4 })
    .map((frames) => frame('bundle', Buffer.concat([...frames, frame('runEnd', undefined, encodeFlag(false))]))),
)
/** What a decent source says to this tree, frame by frame. */
const DECENT = [
  frame('hello', encodeJson({ version: PROTOCOL.highest })),
  frame('tree', encodeJson({ hash: 'a'.repeat(64) })),
  frame('manifest', encodeJson(TREE)),
  frame('manifestEnd'),
  frame('files', Buffer.alloc(100, 1)),
  frame('hashes', ONES_LIST, encodeFlag(true)),
  frame('piece', Buffer.alloc(65_536, 1), encodeOffset(0)),
  frame(
    'bundle',
    Buffer.concat([
      frame('piece', Buffer.alloc(34_464, 1), encodeOffset(65_536)),
      frame('runEnd', undefined, encodeFlag(false)),
    ]),
  ),
  frame('end'),
]
/** Where it stops being decent, what it says instead, and how much of the rest it still says. */
const said = fc
  .tuple(fc.nat(DECENT.length), fc.array(any, { maxLength: 4 }), fc.nat(3))
  .map(([until, instead, skip]) =>
    Buffer.concat([...DECENT.slice(0, until), ...instead, ...DECENT.slice(until + skip)]),
  )

test('whatever a source says, the writer gets what it asked for or the pull ends with a coded error; nothing outside of the stage changes', async (t) => {
  await using set = new AsyncDisposableStack()
  const { dir } = set.use(await transferDirectory())
  const { log } = recorder()
  const identity = set.use(await identityIn(await certs(dir, HOST), log))
  const stage = join(dir, 'stage')
  await mkdir(stage)
  await writeFile(join(dir, 'precious'), 'as it was')
  const outside = async () =>
    (await readdir(dir, { recursive: true })).filter((name) => !name.startsWith('stage/')).sort()
  const before = await outside()
  let words: Buffer = Buffer.alloc(0)
  const server = createServer({ ...identity.current(), requestCert: true }, (socket) => {
    socket.on('error', () => {})
    socket.resume()
    socket.end(words)
  })
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  set.defer(() => new Promise((resolve) => server.close(() => resolve())))
  const from = { address: HOST, port: (server.address() as AddressInfo).port }
  const puller = createPuller({ identity, log })
  const outcomes = new Map<string, number>()
  let calls = 0
  await fc.assert(
    fc.asyncProperty(said, async (bytes) => {
      words = bytes
      const writer = new StageWriter(stage)
      const outcome = await puller.pull(from, LIVE, writer, neverAborted()).then(
        ({ complete }) => (complete ? 'complete' : 'incomplete'),
        (error) => codeOf(error) ?? (error instanceof SyntaxError ? 'the manifest' : `uncoded: ${error}`),
      )
      calls += writer.calls
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    }),
    { numRuns: 300, seed: 26 },
  )
  t.deepEqual(
    [...outcomes.keys()].filter((outcome) => outcome.startsWith('uncoded')),
    [],
  )
  t.true((outcomes.get('TRANSFER_CUT') ?? 0) > 50 && calls > 100, `${JSON.stringify([...outcomes])}, ${calls} calls`)
  t.deepEqual(await outside(), before)
  t.is(await readFile(join(dir, 'precious'), 'utf8'), 'as it was')
})
