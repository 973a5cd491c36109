import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { type FaultPoint, noFault } from '../../../agent/runtime/fault-point.ts'
import type { TreeSource } from '../../../agent/transfer/contract.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { untilTrue } from '../until.ts'
import { certs, HOST, identityIn, LIVE, neverAborted, noise, proxy, recorder, transferDirectory } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'

/** A server with real certificates on loopback and a puller that trusts it. */
async function pair(source: TreeSource, faultPoint: FaultPoint = noFault) {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await transferDirectory())
  const { log, lines } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, log, faultPoint }))
  const all = stack.move()
  const from = { address: HOST, port: server.port }
  return {
    from,
    server,
    puller: createPuller({ identity, log }),
    lines,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

test('promise 3: a tree arrives byte for byte: empty, small, large and many files', async (t) => {
  const many = Array.from({ length: 9_000 }, (_, nth) => noise(nth % 50, nth))
  const files = [Buffer.alloc(0), noise(10), noise(5_000_000), ...many]
  const reader = new MemoryReader(files, 1_500_000)
  await using set = await pair(async () => reader)
  const writer = new MemoryWriter()
  const result = await set.puller.pull(set.from, LIVE, writer, neverAborted())
  const bytes = files.reduce((sum, file) => sum + file.length, 0)
  t.deepEqual(result, { hash: reader.hash, bytes, complete: true })
  t.true(writer.files.every((file, nth) => file.data.equals(files[nth] ?? Buffer.from('missing'))))
  await untilTrue(() => reader.closed)
})

test('what lies apart crosses in a few frames, byte for byte and in order', async (t) => {
  const file = noise(3_000_000)
  const reader = new MemoryReader([file], 4_000)
  const sent: string[] = []
  await using set = await pair(
    async () => reader,
    (type) => sent.push(type),
  )
  const writer = new MemoryWriter()
  const result = await set.puller.pull(set.from, LIVE, writer, neverAborted())
  t.true(result.complete)
  t.true(writer.files[0]?.data.equals(file))
  const bundles = sent.filter((type) => type === 'bundle').length
  t.true(bundles > 0 && bundles < 10, `${bundles} bundles`)
  t.false(sent.includes('piece'))
})

test('a tree of which everything is here already crosses without data', async (t) => {
  await using set = await pair(async () => new MemoryReader([noise(100)]))
  const writer = new MemoryWriter()
  await set.puller.pull(set.from, LIVE, writer, neverAborted())
  const again = await set.puller.pull(set.from, LIVE, writer, neverAborted())
  t.is(again.bytes, 0)
  t.true(again.complete)
})

test('the source learns who asks and for what', async (t) => {
  const asked: unknown[] = []
  const reader = new MemoryReader([])
  await using set = await pair(async (request, peer) => {
    asked.push(request, peer)
    return reader
  })
  const request = { volume: 'V1', epoch: 7, want: { kind: 'checkpoint' as const, hash: reader.hash } }
  await set.puller.pull(set.from, request, new MemoryWriter(), neverAborted())
  t.deepEqual(asked, [request, { name: HOST, altNames: `IP Address:${HOST}, DNS:${HOST}` }])
})

test('promise 3: a source that offers another checkpoint than the one asked for is refused before anything is written', async (t) => {
  await using set = await pair(async () => new MemoryReader([noise(10)]))
  const writer = new MemoryWriter()
  const request = { ...LIVE, want: { kind: 'checkpoint' as const, hash: '0'.repeat(64) } }
  await t.throwsAsync(set.puller.pull(set.from, request, writer, neverAborted()), { code: 'HASH_MISMATCH' })
  t.is(writer.begins, 0)
})

test('promise 4: after a cut in the middle the next pull sends only what is missing', async (t) => {
  const files = [noise(3_000_000), noise(4_000_000, 2), noise(100, 3)]
  await using set = await pair(async () => new MemoryReader(files))
  await using between = await proxy(set.from.port)
  const writer = new MemoryWriter()
  writer.beforeWrite = (index, offset) => {
    if (index === 1 && offset > 500_000) between.cut()
  }
  await t.throwsAsync(set.puller.pull(between, LIVE, writer, neverAborted()), { code: 'TRANSFER_CUT' })
  const staged = writer.goodBytes(files)
  t.true(staged > 3_400_000 && staged < 7_000_000, `${staged} bytes staged`)
  writer.beforeWrite = () => {}
  const result = await set.puller.pull(between, LIVE, writer, neverAborted())
  t.deepEqual([result.complete, result.bytes], [true, 7_000_100 - staged])
  t.true(writer.files.every((file, nth) => file.data.equals(files[nth] ?? Buffer.from('missing'))))
})

/** Ten seconds are waited, in ticks that a loaded machine makes longer; TCP itself would take a quarter of an hour. */
const NOTICED_MS = 60_000

test('a peer that goes silent is noticed on both sides', async (t) => {
  let noticed: AbortSignal | undefined
  await using set = await pair(async (_request, _peer, signal) => {
    noticed = signal
    const reader = new MemoryReader([noise(20_000_000)])
    reader.beforePiece = () => setTimeout(50)
    return reader
  })
  await using between = await proxy(set.from.port)
  const writer = new MemoryWriter()
  writer.beforeWrite = (_index, offset) => {
    if (offset > 1_000_000) between.silence()
  }
  const started = Date.now()
  const error = await t.throwsAsync(set.puller.pull(between, LIVE, writer, neverAborted()), { code: 'TRANSFER_CUT' })
  t.regex(error?.message ?? '', /no byte came for 10 s/)
  await untilTrue(() => noticed?.aborted === true)
  t.regex(noticed?.reason.message, /no byte came for 10 s/)
  t.true(Date.now() - started < NOTICED_MS)
})

test('a source or a writer that needs longer than the silence limit is not cut', async (t) => {
  const pause = () => setTimeout(12_000)
  await using set = await pair(async () => {
    await pause()
    return new MemoryReader([noise(3_000_000)])
  })
  const writer = new MemoryWriter()
  writer.beforeWrite = (_index, offset) => (offset === 0 ? pause() : undefined)
  t.true((await set.puller.pull(set.from, LIVE, writer, neverAborted())).complete)
})

test('a coded error of the source is thrown on the asker as it is', async (t) => {
  await using set = await pair(async () => {
    throw new WherryError('STALE_EPOCH', 'Epoch 1 of volume data is over.', { hint: 'Read the record again.' })
  })
  const error = await t.throwsAsync(set.puller.pull(set.from, LIVE, new MemoryWriter(), neverAborted()), {
    instanceOf: WherryError,
  })
  t.deepEqual(
    [error?.code, error?.message, error?.hint],
    ['STALE_EPOCH', 'Epoch 1 of volume data is over.', 'Read the record again.'],
  )
})

test('an error of the source that has no code crosses as INTERNAL, without its text', async (t) => {
  const reader = new MemoryReader([noise(100_000), noise(10)])
  reader.blocks = async function* (run) {
    yield* MemoryReader.prototype.blocks.call(reader, run)
    throw new Error('secret path /etc/shadow')
  }
  await using set = await pair(async () => reader)
  const error = await t.throwsAsync(set.puller.pull(set.from, LIVE, new MemoryWriter(), neverAborted()), {
    code: 'INTERNAL',
  })
  t.notRegex(error?.message ?? '', /secret/)
  t.true(set.lines.some((line) => line.includes('secret path')))
  await untilTrue(() => reader.closed)
})

test('a file that changed at the source makes the pull incomplete, the others arrive', async (t) => {
  const reader = new MemoryReader([noise(10), noise(2_000, 2), noise(30, 3), noise(200_000, 4), noise(300_000, 5)])
  reader.changed.add(1).add(3)
  await using set = await pair(async () => reader)
  const writer = new MemoryWriter()
  t.false((await set.puller.pull(set.from, LIVE, writer, neverAborted())).complete)
  t.deepEqual(
    writer.files.map((file) => file.done),
    [true, false, true, false, true],
  )
})

test('an error of the writer ends the pull and reaches the caller', async (t) => {
  const reader = new MemoryReader([noise(5_000_000)])
  await using set = await pair(async () => reader)
  const writer = new MemoryWriter()
  writer.beforeWrite = (_index, offset) => {
    if (offset > 1_000_000) throw new WherryError('DISK_FULL', 'No space left.')
  }
  await t.throwsAsync(set.puller.pull(set.from, LIVE, writer, neverAborted()), { code: 'DISK_FULL' })
  await untilTrue(() => reader.closed)
})

test('aborting a pull rejects with the reason and frees the source', async (t) => {
  const reader = new MemoryReader([noise(5_000_000)])
  await using set = await pair(async () => reader)
  const controller = new AbortController()
  const writer = new MemoryWriter()
  writer.beforeWrite = () => controller.abort(new Error('not wanted any more'))
  await t.throwsAsync(set.puller.pull(set.from, LIVE, writer, controller.signal), { message: 'not wanted any more' })
  await untilTrue(() => reader.closed)
})

test('a slow writer holds the source back: little is on the way at any time', async (t) => {
  const file = noise(64 * 1024 * 1024)
  const reader = new MemoryReader([file], 512 * 1024)
  await using set = await pair(async () => reader)
  const writer = new MemoryWriter()
  let writes = 0
  writer.beforeWrite = () => setTimeout(writes++ === 0 ? 3_000 : 0)
  const pulled = set.puller.pull(set.from, LIVE, writer, neverAborted())
  await untilTrue(() => writes === 1)
  await setTimeout(2_000)
  // The rest is in the kernel's socket buffers, which grow to about 10 MB on loopback.
  t.true(reader.sentBytes < 24 * 1024 * 1024, `${reader.sentBytes} bytes sent while nothing was written`)
  t.true((await pulled).complete)
  t.true(writer.files[0]?.data.equals(file))
})

test('nobody at the port: the error names host and port', async (t) => {
  await using set = await pair(async () => new MemoryReader([]))
  await set.server[Symbol.asyncDispose]()
  const error = await t.throwsAsync(set.puller.pull(set.from, LIVE, new MemoryWriter(), neverAborted()), {
    code: 'TRANSFER_CUT',
  })
  t.true(error?.message.includes(`${HOST}:${set.from.port}`))
})

test('disposing the server cuts the copies that run', async (t) => {
  const reader = new MemoryReader([noise(5_000_000)])
  await using set = await pair(async () => reader)
  const writer = new MemoryWriter()
  writer.beforeWrite = async () => set.server[Symbol.asyncDispose]()
  await t.throwsAsync(set.puller.pull(set.from, LIVE, writer, neverAborted()), { code: 'TRANSFER_CUT' })
  t.true(reader.closed)
})

test('a port that is taken is a setting that is wrong', async (t) => {
  await using set = await pair(async () => new MemoryReader([]))
  await using place = await transferDirectory()
  const { log } = recorder()
  await using identity = await identityIn(await certs(place.dir, HOST), log)
  const taken = serveTransfer({
    host: HOST,
    port: set.from.port,
    identity,
    source: async () => new MemoryReader([]),
    log,
  })
  await t.throwsAsync(taken, { code: 'SETTING_INVALID', message: new RegExp(`${HOST}:${set.from.port}`) })
})

test('more wants than one frame holds are answered in order, more than may be outstanding are held back', async (t) => {
  // 3,000 files of more than a block are 3,000 wants for hashes and as many runs; 20,000 empty ones 40 long wants.
  const large = Array.from({ length: 3_000 }, (_, nth) => Buffer.alloc(65_537, nth))
  const empty = Array.from({ length: 20_000 }, () => Buffer.alloc(0))
  await using set = await pair(async () => new MemoryReader([...large, ...empty]))
  const writer = new MemoryWriter()
  t.true((await set.puller.pull(set.from, LIVE, writer, neverAborted())).complete)
})
