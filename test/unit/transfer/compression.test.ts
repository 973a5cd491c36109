import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import {
  CompressionPlan,
  compressionPays,
  lineRateOf,
  type Stretch,
  unpack,
} from '../../../agent/transfer/wire/compression.ts'
import { ProtocolViolation } from '../../../agent/transfer/wire/frame.ts'
import { certs, HOST, identityIn, LIVE, neverAborted, proxy, recorder, transferDirectory } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'

const MB = 1_000_000
const TEXT = { ratio: 0.3, bytesPerSecond: 400 * MB }

test('packing pays on a slow line with data that packs, never with random data or on a line faster than the packer', (t) => {
  t.true(compressionPays(10 * MB, TEXT))
  t.true(compressionPays(117 * MB, TEXT))
  t.false(compressionPays(1_500 * MB, TEXT))
  t.false(compressionPays(400 * MB, TEXT))
  for (const line of [1, 10, 100, 1_000]) t.false(compressionPays(line * MB, { ratio: 1, bytesPerSecond: 1_000 * MB }))
  t.false(compressionPays(100 * MB, { ratio: 0.3, bytesPerSecond: 50 * MB }))
})

test('a line has a rate only while it is what the sender waits for', (t) => {
  t.is(lineRateOf({ wallMs: 100, blockedMs: 90, wireBytes: MB, contentBytes: MB }), 10 * MB)
  t.is(lineRateOf({ wallMs: 100, blockedMs: 10, wireBytes: MB, contentBytes: MB }), undefined)
  t.is(lineRateOf({ wallMs: 100, blockedMs: 90, wireBytes: 100, contentBytes: MB }), undefined)
})

/** A stretch of 4 MB over a line of `rate` MB per second that the sender waits for. */
const stretch = (rate: number, ratio = 1): Stretch => {
  const wallMs = (4_000 * ratio) / rate
  return { wallMs, blockedMs: wallMs, wireBytes: 4 * MB * ratio, contentBytes: 4 * MB }
}

test('a sample is taken when the line holds the sender back, and again only after a while', (t) => {
  const plan = new CompressionPlan()
  t.false(plan.wantsSample)
  plan.sent({ ...stretch(1_000), blockedMs: 0 })
  t.false(plan.wantsSample)
  plan.sent(stretch(10))
  t.true(plan.wantsSample)
  plan.sampled({ ratio: 1, bytesPerSecond: 500 * MB })
  t.deepEqual([plan.packs, plan.wantsSample], [false, false])
  for (let nth = 0; nth < 9; nth++) plan.sent(stretch(10))
  t.true(plan.wantsSample)
})

test('packing goes on while it wins and ends when it does not, whatever the sample said', (t) => {
  const plan = new CompressionPlan()
  plan.sent(stretch(10))
  plan.sampled(TEXT)
  for (let nth = 0; nth < 20; nth++) plan.sent(stretch(10, 0.3))
  t.true(plan.packs)
  plan.sent(stretch(10))
  t.false(plan.packs)
  for (let nth = 0; nth < 9; nth++) plan.sent(stretch(10))
  t.true(plan.wantsSample)
})

test('the longer packing does not pay, the more seldom it is looked at again', (t) => {
  const plan = new CompressionPlan()
  const waits: number[] = []
  for (let sent = 0, last = 0; sent < 600; sent++) {
    plan.sent(stretch(10))
    if (!plan.wantsSample) continue
    waits.push((sent - last) * 4)
    last = sent
    plan.sampled({ ratio: 1, bytesPerSecond: 500 * MB })
  }
  t.deepEqual(waits, [0, 36, 68, 136, 272, 540, 540, 540])
})

test('what is unpacked has an ArrayBuffer of its own, nearly as long as itself', (t) => {
  for (const bytes of [1, 100, 4_000, 65_536, 1024 * 1024]) {
    const data = randomBytes(bytes)
    const got = unpack(zstdCompressSync(data), bytes)
    t.true(got.equals(data))
    t.true(got.byteOffset === 0 && got.buffer.byteLength <= bytes + 1, `${bytes} in ${got.buffer.byteLength}`)
  }
})

test('a packed body that wants a window of 128 MiB from its reader is refused', (t) => {
  // Magic number, a descriptor without sizes, a window of 2^27 bytes, one empty last block.
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00])
  t.throws(() => unpack(frame, 100), { instanceOf: ProtocolViolation, message: /cannot be unpacked/ })
})

/** Bytes on the wire for one file, over a line of so many bytes per second. */
async function wireBytes(file: Buffer, bytesPerSecond?: number): Promise<number> {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const source = async () => new MemoryReader([file], 1024 * 1024)
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, log }))
  const line = stack.use(await proxy(server.port, bytesPerSecond))
  const writer = new MemoryWriter()
  const result = await createPuller({ identity, log }).pull(line, LIVE, writer, neverAborted())
  if (!result.complete || !writer.files[0]?.data.equals(file)) throw new Error('not what was sent')
  return line.toAsker()
}

test('over a line of 20 MB/s data that packs takes far fewer bytes than it has', async (t) => {
  // The kernel's buffers take the first 20 MB or so at once: only then does the line show.
  const file = Buffer.alloc(80 * 1024 * 1024)
  for (let at = 0, line = 0; at < file.length; line++)
    at += file.write(`line ${line} of a log that says much the same\n`, at)
  const bytes = await wireBytes(file, 20 * MB)
  t.true(bytes < file.length * 0.9, `${bytes} of ${file.length}`)
})

test('random data is sent as it is, also over a slow line', async (t) => {
  const file = randomBytes(20 * 1024 * 1024)
  const bytes = await wireBytes(file, 20 * MB)
  t.true(bytes > file.length && bytes < file.length * 1.01, `${bytes} of ${file.length}`)
})
