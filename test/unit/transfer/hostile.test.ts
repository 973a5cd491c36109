import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import { BufferPool } from '../../../agent/runtime/buffer-pool.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import {
  FrameDecoder,
  type FrameType,
  framePrefix,
  ProtocolViolation,
  REQUESTER_FRAMES,
  SOURCE_FRAMES,
} from '../../../agent/transfer/wire/frame.ts'
import { encodeJson, encodeRequest } from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import {
  decodeChanged,
  decodeRequests,
  encodeChanged,
  encodeFlag,
  encodeOffset,
  encodeRequests,
  type SentRequest,
} from '../../../agent/transfer/wire/request-codec.ts'
import { untilTrue } from '../until.ts'
import { digest, HOST, LIVE, noise, ONES_LIST } from './kit.ts'
import { MemoryReader } from './memory-tree.ts'
import { frame, ground, insult, rawHeader, speaker } from './speaker.ts'

/** A frame whose body is packed and says that it becomes `unpackedBytes`. */
function packed(type: FrameType, body: Buffer, unpackedBytes: number, head?: Buffer): Buffer {
  return Buffer.concat([framePrefix(type, body.length, head, unpackedBytes), body])
}

const SMALL = { size: 100, hash: 'b'.repeat(64) }
const LARGE = { size: 100_000, hash: 'b'.repeat(64) }
const HELLO = frame('hello', encodeJson({ version: PROTOCOL.highest }))
const REQUEST = frame('request', encodeRequest(LIVE, PROTOCOL.highest))
const TREE = frame('tree', encodeJson({ hash: 'a'.repeat(64) }))
const offer = (...entries: object[]) =>
  Buffer.concat([HELLO, TREE, frame('manifest', encodeJson(entries)), frame('manifestEnd')])
const piece = (offset: number, bytes = 10) => frame('piece', Buffer.alloc(bytes), encodeOffset(offset))
const bundle = (...frames: Buffer[]) => frame('bundle', Buffer.concat(frames))
const wants = (...asked: SentRequest[]) =>
  Buffer.concat(encodeRequests(asked).map((body) => frame('blockRequests', body)))
/** A source's first words up to the run of all blocks. */
const RUN = Buffer.concat([
  offer({ size: 100_000, hash: digest(ONES_LIST) }),
  frame('hashes', ONES_LIST, encodeFlag(true)),
])
const ZEROS = zstdCompressSync(Buffer.alloc(1024 * 1024))

const GARBAGE = {
  'a length of 4 GB': rawHeader(0xffff_ffff, 1),
  'a packed length of 4 GB': rawHeader(0xffff_ffff, 0x84),
  'an unknown type': rawHeader(0, 100),
  'type 0': rawHeader(1, 0),
  'a type of the first version': rawHeader(13, 8),
  text: Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  'a ping with a payload': rawHeader(1_000, 12),
  'a ping that is packed': Buffer.concat([rawHeader(5, 0x8c), Buffer.alloc(5)]),
}

const TO_SOURCE: Record<string, Buffer> = {
  ...GARBAGE,
  'wants before the request': wants({ kind: 'hashes', index: 0 }),
  'a second request': Buffer.concat([REQUEST, REQUEST]),
  'a frame that only a source sends': Buffer.concat([REQUEST, TREE]),
  'a request that is not JSON': frame('request', Buffer.from('{{{')),
  'a request with a path for a volume': frame(
    'request',
    encodeRequest({ ...LIVE, volume: '../../etc' }, PROTOCOL.highest),
  ),
  'wants after the end of wants': Buffer.concat([
    REQUEST,
    frame('blockRequestsEnd'),
    wants({ kind: 'hashes', index: 0 }),
  ]),
  'a second end of wants': Buffer.concat([REQUEST, frame('blockRequestsEnd'), frame('blockRequestsEnd')]),
  'a want that is cut': Buffer.concat([REQUEST, frame('blockRequests', Buffer.from([3, 0, 0, 0, 0, 0, 0]))]),
  'a want of unknown kind': Buffer.concat([REQUEST, frame('blockRequests', Buffer.alloc(5, 9))]),
  'a want of no files': Buffer.concat([REQUEST, frame('blockRequests', Buffer.from([1, 0, 0, 2, 0, 0, 0, 0]))]),
  'a want of 65,535 files': Buffer.concat([
    REQUEST,
    frame('blockRequests', Buffer.alloc(2_000, Buffer.from([1, 0xff, 0xff]))),
  ]),
  'a run of no blocks': Buffer.concat([REQUEST, frame('blockRequests', Buffer.from([3, ...Buffer.alloc(12)]))]),
  'too many wants': Buffer.concat([REQUEST, wants(...Array(3_000).fill({ kind: 'hashes', index: 0 }))]),
  'wants that are packed': Buffer.concat([REQUEST, rawHeader(20, 0x8d), Buffer.alloc(20)]),
}

const TO_ASKER: Record<string, Buffer> = {
  ...GARBAGE,
  'no hello': TREE,
  'a frame that only an asker sends': Buffer.concat([HELLO, REQUEST]),
  'a hash that is none': Buffer.concat([HELLO, frame('tree', encodeJson({ hash: '../x' }))]),
  'an end without content': Buffer.concat([offer(SMALL), frame('end')]),
  'files before the manifest': Buffer.concat([HELLO, TREE, frame('files', Buffer.alloc(100))]),
  'files that are too short': Buffer.concat([offer(SMALL), frame('files', Buffer.alloc(99))]),
  'files that are too long': Buffer.concat([offer(SMALL), frame('files', Buffer.alloc(101))]),
  'changed files not asked for': Buffer.concat([offer(SMALL), frame('changed', encodeChanged([1]))]),
  'changed files twice': Buffer.concat([offer(SMALL), frame('changed', encodeChanged([0, 0]))]),
  'changed files and no files': Buffer.concat([offer(SMALL), frame('changed', encodeChanged([0])), frame('end')]),
  'a piece where files should come': Buffer.concat([offer(SMALL), piece(0)]),
  'more after the last file': Buffer.concat([offer(SMALL), frame('files', Buffer.alloc(100)), piece(0)]),
  'files nobody asked for': Buffer.concat([offer(), frame('files', Buffer.alloc(100))]),
  'hashes without end': Buffer.concat([
    offer(LARGE),
    frame('hashes', Buffer.alloc(ONES_LIST.length + 1), encodeFlag(false)),
  ]),
  'hashes that are too few': Buffer.concat([offer(LARGE), frame('hashes', Buffer.alloc(32), encodeFlag(true))]),
  'hashes without hashes': Buffer.concat([offer(LARGE), frame('hashes', Buffer.alloc(0), encodeFlag(false))]),
  'a flag that is none': Buffer.concat([
    offer(LARGE),
    frame('hashes', Buffer.alloc(ONES_LIST.length), Buffer.from([2])),
  ]),
  'hashes nobody asked for': Buffer.concat([RUN, frame('hashes', ONES_LIST, encodeFlag(true))]),
  'data that goes back': Buffer.concat([RUN, piece(50), piece(0)]),
  'data that comes twice': Buffer.concat([RUN, piece(0), piece(0)]),
  'more data than the run has': Buffer.concat([RUN, piece(0, 100_001)]),
  'the end of a run twice': Buffer.concat([RUN, ...Array(2).fill(frame('runEnd', undefined, encodeFlag(false)))]),
  'a piece frame of 2 MiB': Buffer.concat([RUN, rawHeader(2 * 1024 * 1024, 18)]),
  'a piece without data': Buffer.concat([RUN, rawHeader(8, 18), encodeOffset(0)]),
  'an offset beyond 2^53': Buffer.concat([RUN, frame('piece', Buffer.alloc(10), Buffer.alloc(8, 0xff))]),
  'a bundle of nothing': Buffer.concat([RUN, rawHeader(0, 21)]),
  'a bundle that ends within a frame': Buffer.concat([RUN, bundle(piece(0).subarray(0, -1))]),
  'a bundle that ends within the length of a frame': Buffer.concat([RUN, bundle(piece(0), Buffer.alloc(3))]),
  'a bundle in a bundle': Buffer.concat([RUN, bundle(bundle(piece(0)))]),
  'an error in a bundle': Buffer.concat([RUN, bundle(frame('error', encodeJson({ code: 'INTERNAL', message: '' })))]),
  'a packed piece in a bundle': Buffer.concat([
    RUN,
    bundle(packed('piece', zstdCompressSync(Buffer.alloc(10_000)), 10_000, encodeOffset(0))),
  ]),
  'data that goes back in a bundle': Buffer.concat([RUN, bundle(piece(50), piece(0))]),
  'a bundle where files should come': Buffer.concat([offer(SMALL), bundle(piece(0))]),
  'a packed body that is garbage': Buffer.concat([offer(SMALL), packed('files', Buffer.alloc(50, 7), 100)]),
  'a packed body that becomes more than it says': Buffer.concat([offer(SMALL), packed('files', ZEROS, 1_000)]),
  'a packed body that becomes less than it says': Buffer.concat([
    offer(SMALL),
    packed('files', zstdCompressSync(Buffer.alloc(99)), 100),
  ]),
  'a packed body with more behind it': Buffer.concat([
    offer(SMALL),
    packed('files', Buffer.concat([zstdCompressSync(Buffer.alloc(100)), Buffer.from('more')]), 100),
  ]),
  'a bomb that says what it is': Buffer.concat([offer(SMALL), rawHeader(54, 0x90), Buffer.alloc(4, 0x7f)]),
  'an error that is none': Buffer.concat([HELLO, frame('error', encodeJson({ oops: 1 }))]),
}

test('a source closes the connection of an asker that breaks the protocol, and serves the next one', async (t) => {
  await using set = await ground()
  const readers: MemoryReader[] = []
  const source = async () => {
    readers.push(new MemoryReader([noise(200_000)]))
    return readers.at(-1) as MemoryReader
  }
  await using server = await serveTransfer({ host: HOST, port: 0, identity: set.identity, source, log: set.log })
  for (const [name, bytes] of Object.entries(TO_SOURCE)) {
    const logged = set.lines.length
    await insult(set.identity, server.port, bytes)
    const complained = () => set.lines.slice(logged).some((line) => line.includes('broke the transfer protocol'))
    await untilTrue(complained).catch(() => t.fail(`${name}: ${set.lines.slice(logged).join('')}`))
  }
  t.true((await set.pull({ address: HOST, port: server.port })).complete)
  await untilTrue(() => readers.every((reader) => reader.closed))
})

test('an asker closes the connection of a source that breaks the protocol', async (t) => {
  await using set = await ground()
  for (const [name, bytes] of Object.entries(TO_ASKER)) {
    await using source = await speaker(set.identity, bytes)
    const pulled = set.pull(source)
    await t.throwsAsync(pulled, { code: 'TRANSFER_CUT', message: /broke the transfer protocol/ }, name)
    await untilTrue(() => source.sockets.every((socket) => socket.destroyed || socket.readableEnded))
  }
})

test('data outside of the run that was asked for reaches the writer, which refuses it', async (t) => {
  await using set = await ground()
  await using source = await speaker(set.identity, Buffer.concat([RUN, piece(131_072)]))
  const pulled = set.pull(source)
  await t.throwsAsync(pulled, { code: 'REQUEST_INVALID', message: /outside of the run/ })
})

test('an error code this version does not know arrives as INTERNAL, another protocol version as VERSION_SKEW', async (t) => {
  await using set = await ground()
  const answers: [string, RegExp, Buffer][] = [
    [
      'INTERNAL',
      /FROM_THE_FUTURE: boo/,
      Buffer.concat([HELLO, frame('error', encodeJson({ code: 'FROM_THE_FUTURE', message: 'boo' }))]),
    ],
    ['INTERNAL', /toString/, Buffer.concat([HELLO, frame('error', encodeJson({ code: 'toString', message: 'boo' }))])],
    ['VERSION_SKEW', /version 1/, frame('hello', encodeJson({ version: 1, more: true }))],
  ]
  for (const [code, message, bytes] of answers) {
    await using source = await speaker(set.identity, bytes)
    const pulled = set.pull(source)
    await t.throwsAsync(pulled, { code, message })
  }
})

const type = (types: ReadonlySet<FrameType>) => fc.constantFrom(...types)

test('the decoder yields frames within their limits or a ProtocolViolation, whatever bytes come in whatever pieces', (t) => {
  const header = fc
    .tuple(fc.nat(24), fc.oneof(fc.nat(20), fc.nat(255)))
    .map(([length, code]) => rawHeader(length, code))
  const bytes = fc.oneof({ weight: 5, arbitrary: header }, fc.uint8Array({ maxLength: 200 }))
  let frames = 0
  let violations = 0
  fc.assert(
    fc.property(
      fc.array(bytes, { maxLength: 20 }),
      fc.constantFrom(REQUESTER_FRAMES, SOURCE_FRAMES),
      (chunks, accepts) => {
        const decoder = new FrameDecoder(accepts, new BufferPool())
        try {
          for (const chunk of chunks) {
            for (const { type, head, body, unpackedBytes } of decoder.push(Buffer.from(chunk))) {
              framePrefix(type, body.length, head, unpackedBytes)
              if (!accepts.has(type)) throw new Error(`${type} was not to be accepted`)
              frames += 1
            }
          }
        } catch (error) {
          if (!(error instanceof ProtocolViolation)) throw error
          violations += 1
        }
      },
    ),
    { numRuns: 5_000, seed: 26 },
  )
  t.true(frames > 100 && violations > 100, `${frames} frames, ${violations} violations`)
})

test('what was framed comes out of the decoder as it was, however the bytes are cut', (t) => {
  const one = fc.record({
    type: type(SOURCE_FRAMES),
    fill: fc.nat(255),
    bytes: fc.nat(3_000),
    headBytes: fc.constantFrom(0, 1, 8),
    unpackedBytes: fc.option(fc.nat(6_000), { nil: undefined }),
  })
  fc.assert(
    fc.property(fc.array(one, { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 4_000 })), (wanted, cuts) => {
      const framed = wanted.flatMap(({ type, fill, bytes, headBytes, unpackedBytes }) => {
        const body = Buffer.alloc(bytes, fill)
        const head = Buffer.alloc(headBytes, fill)
        try {
          const wire = Buffer.concat([framePrefix(type, bytes, head, unpackedBytes), body])
          return [{ type, head, body, unpackedBytes, wire }]
        } catch {
          return [] // not lengths this type may have
        }
      })
      let wire = Buffer.concat(framed.map((each) => each.wire))
      const decoder = new FrameDecoder(SOURCE_FRAMES, new BufferPool())
      const got = []
      for (const cut of [...cuts, Number.MAX_SAFE_INTEGER]) {
        got.push(...decoder.push(wire.subarray(0, cut)))
        wire = wire.subarray(cut)
      }
      return (
        got.length === framed.length &&
        got.every((frame, nth) => {
          const sent = framed[nth]
          const same = frame.type === sent?.type && frame.unpackedBytes === sent.unpackedBytes
          const own = frame.body.buffer.byteLength === frame.body.length
          return same && own && frame.head.equals(sent.head) && frame.body.equals(sent.body)
        })
      )
    }),
    { numRuns: 2_000, seed: 26 },
  )
  t.pass()
})

const number = fc.nat(0xffff_ffff)
const asked: fc.Arbitrary<SentRequest> = fc.oneof(
  fc.record({ kind: fc.constant('files' as const), indexes: fc.array(number, { minLength: 1, maxLength: 512 }) }),
  fc.record({ kind: fc.constant('hashes' as const), index: number }),
  fc.record({
    kind: fc.constant('blocks' as const),
    run: fc.record({ index: number, first: number, count: fc.integer({ min: 1, max: 0xffff_ffff }) }),
  }),
)

test('wants arrive as they were told, in frames within their limit', (t) => {
  fc.assert(
    fc.property(fc.array(asked, { maxLength: 200 }), (told) => {
      const bodies = encodeRequests(told)
      t.deepEqual(
        bodies.flatMap((body) => decodeRequests(body)),
        told,
      )
      for (const body of bodies) framePrefix('blockRequests', body.length)
    }),
    { numRuns: 200, seed: 26 },
  )
})

test('whatever bytes come as wants or positions: decent ones or a ProtocolViolation', (t) => {
  let violations = 0
  const tryOut = (decode: () => void) => {
    try {
      decode()
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) throw error
      violations += 1
    }
  }
  const near = fc.array(fc.oneof(fc.nat(4), fc.nat(255)), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(near, fc.integer({ min: 1, max: 512 }), (bytes, count) => {
      const body = Buffer.from(bytes)
      tryOut(() => {
        for (const want of decodeRequests(body)) {
          if (want.kind === 'files' && want.indexes.length > 512) throw new Error('too many files')
        }
      })
      tryOut(() => {
        if (decodeChanged(body, count).some((position) => position >= count)) throw new Error('no such position')
      })
    }),
    { numRuns: 5_000, seed: 26 },
  )
  t.true(violations > 1_000, `${violations} violations`)
})
