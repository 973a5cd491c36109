import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import test from 'ava'
import fc from 'fast-check'
import type { Identity } from '../../../agent/tls.ts'
import {
  ASKER_FRAMES,
  FrameDecoder,
  type FrameType,
  frameHeader,
  ProtocolViolation,
  SOURCE_FRAMES,
} from '../../../agent/transfer/frame.ts'
import { encodeIndex, encodeJson, encodeNeeds, encodePosition, encodeRequest } from '../../../agent/transfer/message.ts'
import { createPuller } from '../../../agent/transfer/puller.ts'
import { serveTransfer } from '../../../agent/transfer/server.ts'
import {
  certs,
  HOST,
  identityIn,
  LIVE,
  MemoryReader,
  MemoryWriter,
  never,
  noise,
  recorder,
  scratch,
  until,
} from './kit.ts'

function frame(type: FrameType, payload: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([frameHeader(type, payload.length), payload])
}

/** A header as no decent peer would make it. */
function rawHeader(bytes: number, code: number): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(bytes)
  header[4] = code
  return header
}

const HELLO = frame('hello', encodeJson({ version: 1 }))
const REQUEST = frame('request', encodeRequest(LIVE))
const TREE = frame('tree', encodeJson({ hash: 'a'.repeat(64) }))
const MANIFEST = frame('manifest', encodeJson([{ size: 100, hash: 'b'.repeat(64) }]))
const OFFER = Buffer.concat([HELLO, TREE, MANIFEST, frame('manifestEnd')])
const data = (index: number, offset: number, bytes = 10) =>
  frame('data', Buffer.concat([encodePosition(index, offset), Buffer.alloc(bytes)]))

const GARBAGE = {
  'a length of 4 GB': rawHeader(0xffff_ffff, 1),
  'an unknown type': rawHeader(0, 200),
  'type 0': rawHeader(1, 0),
  text: Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  'a ping with a payload': rawHeader(1_000, 12),
}

const TO_SOURCE: Record<string, Buffer> = {
  ...GARBAGE,
  'needs before the request': frame('needs', encodeNeeds([{ index: 0, offset: 0 }])),
  'a second request': Buffer.concat([REQUEST, REQUEST]),
  'a frame that only a source sends': Buffer.concat([REQUEST, TREE]),
  'a request that is not JSON': frame('request', Buffer.from('{{{')),
  'a request with a path for a volume': frame('request', encodeRequest({ ...LIVE, volume: '../../etc' })),
  'a request with more than it should': frame('request', encodeJson({ version: 1, ...LIVE, shell: 'rm' })),
  'needs after the end of needs': Buffer.concat([
    REQUEST,
    frame('needsEnd'),
    frame('needs', encodeNeeds([{ index: 0, offset: 0 }])),
  ]),
  'needs that are cut': Buffer.concat([REQUEST, frame('needs', Buffer.alloc(13))]),
  'an offset beyond 2^53': Buffer.concat([REQUEST, frame('needs', Buffer.alloc(12, 0xff))]),
  'too many needs': Buffer.concat([
    REQUEST,
    ...Array(100).fill(frame('needs', encodeNeeds(Array(1024).fill({ index: 0, offset: 0 })))),
  ]),
}

const TO_ASKER: Record<string, Buffer> = {
  ...GARBAGE,
  'no hello': TREE,
  'a frame that only an asker sends': Buffer.concat([HELLO, REQUEST]),
  'a hash that is none': Buffer.concat([HELLO, frame('tree', encodeJson({ hash: '../x' }))]),
  'an end without content': Buffer.concat([OFFER, frame('end')]),
  'data before the manifest': Buffer.concat([HELLO, TREE, data(0, 0)]),
  'data of another file': Buffer.concat([OFFER, data(1, 0)]),
  'data that goes back': Buffer.concat([OFFER, data(0, 50), data(0, 0)]),
  'the end of another file': Buffer.concat([OFFER, frame('fileEnd', encodeIndex(1))]),
  'a data frame of 2 MiB': Buffer.concat([OFFER, rawHeader(2 * 1024 * 1024, 8)]),
  'data after the last file': Buffer.concat([OFFER, frame('fileEnd', encodeIndex(0)), data(0, 0)]),
  'an error that is none': Buffer.concat([HELLO, frame('error', encodeJson({ oops: 1 }))]),
}

async function ground() {
  await using stack = new AsyncDisposableStack()
  const { dir } = stack.use(await scratch())
  const { log, lines } = recorder()
  const identity = stack.use(await identityIn(await certs(dir, HOST), log))
  const all = stack.move()
  return { identity, log, lines, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** Says `bytes` to a source with a good certificate, waits for the close. */
async function insult(identity: Identity, port: number, bytes: Buffer): Promise<void> {
  const socket = connect({ ...identity.current(), host: HOST, port })
  socket.on('error', () => {})
  socket.resume()
  socket.write(bytes)
  await new Promise((resolve) => socket.on('close', resolve))
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
    await until(
      () => set.lines.slice(logged).some((line) => line.includes('broke the transfer protocol')),
      5_000,
    ).catch(() => {
      t.fail(`${name}: ${set.lines.slice(logged).join('')}`)
    })
  }
  const puller = createPuller({ identity: set.identity, log: set.log })
  t.true((await puller.pull({ address: HOST, port: server.port }, LIVE, new MemoryWriter(), never())).complete)
  await until(() => readers.every((reader) => reader.closed))
})

test('an asker closes the connection of a source that breaks the protocol', async (t) => {
  await using set = await ground()
  for (const [name, bytes] of Object.entries(TO_ASKER)) {
    const sockets: TLSSocket[] = []
    const server = createServer({ ...set.identity.current(), requestCert: true }, (socket) => {
      sockets.push(socket)
      socket.on('error', () => {})
      socket.resume()
      socket.write(bytes)
    })
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
    const from = { address: HOST, port: (server.address() as AddressInfo).port }
    const pulled = createPuller({ identity: set.identity, log: set.log }).pull(from, LIVE, new MemoryWriter(), never())
    await t.throwsAsync(pulled, { code: 'TRANSFER_CUT', message: /broke the transfer protocol/ }, name)
    await until(() => sockets.every((socket) => socket.destroyed || socket.readableEnded))
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
})

test('an error code this version does not know arrives as INTERNAL, another protocol version as REQUEST_INVALID', async (t) => {
  await using set = await ground()
  const answers: [string, RegExp, Buffer][] = [
    [
      'INTERNAL',
      /FROM_THE_FUTURE: boo/,
      Buffer.concat([HELLO, frame('error', encodeJson({ code: 'FROM_THE_FUTURE', message: 'boo' }))]),
    ],
    ['INTERNAL', /toString/, Buffer.concat([HELLO, frame('error', encodeJson({ code: 'toString', message: 'boo' }))])],
    ['REQUEST_INVALID', /version 2/, frame('hello', encodeJson({ version: 2, more: true }))],
  ]
  for (const [code, message, bytes] of answers) {
    const server = createServer(
      { ...set.identity.current() },
      (socket) =>
        void socket
          .on('error', () => {})
          .resume()
          .end(bytes),
    )
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
    const from = { address: HOST, port: (server.address() as AddressInfo).port }
    const pulled = createPuller({ identity: set.identity, log: set.log }).pull(from, LIVE, new MemoryWriter(), never())
    await t.throwsAsync(pulled, { code, message })
    await new Promise((resolve) => server.close(resolve))
  }
})

const type = (types: ReadonlySet<FrameType>) => fc.constantFrom(...types)

test('the decoder yields frames within their limits or a ProtocolViolation, whatever bytes come in whatever pieces', (t) => {
  const header = fc.tuple(fc.nat(24), fc.nat(13)).map(([length, code]) => rawHeader(length, code))
  const bytes = fc.oneof({ weight: 5, arbitrary: header }, fc.uint8Array({ maxLength: 200 }))
  let frames = 0
  let violations = 0
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 20 }), fc.constantFrom(ASKER_FRAMES, SOURCE_FRAMES), (chunks, accepts) => {
      const decoder = new FrameDecoder(accepts)
      try {
        for (const chunk of chunks) {
          for (const { type, payload } of decoder.push(Buffer.from(chunk))) {
            frameHeader(type, payload.length)
            if (!accepts.has(type)) throw new Error(`${type} was not to be accepted`)
            frames += 1
          }
        }
      } catch (error) {
        if (!(error instanceof ProtocolViolation)) throw error
        violations += 1
      }
    }),
    { numRuns: 5_000, seed: 26 },
  )
  t.true(frames > 100 && violations > 100, `${frames} frames, ${violations} violations`)
})

test('what was framed comes out of the decoder as it was, however the bytes are cut', (t) => {
  const one = fc.record({ type: type(SOURCE_FRAMES), fill: fc.nat(255), bytes: fc.nat(3_000) })
  fc.assert(
    fc.property(fc.array(one, { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 4_000 })), (wanted, cuts) => {
      const framed = wanted.flatMap(({ type, fill, bytes }) => {
        const payload = Buffer.alloc(bytes, fill)
        try {
          return [{ type, payload, wire: frame(type, payload) }]
        } catch {
          return [] // not a length this type may have
        }
      })
      let wire = Buffer.concat(framed.map((each) => each.wire))
      const decoder = new FrameDecoder(SOURCE_FRAMES)
      const got = []
      for (const cut of [...cuts, Number.MAX_SAFE_INTEGER]) {
        got.push(...decoder.push(wire.subarray(0, cut)))
        wire = wire.subarray(cut)
      }
      return (
        got.length === framed.length &&
        got.every(({ type, payload }, nth) => type === framed[nth]?.type && payload.equals(framed[nth].payload))
      )
    }),
    { numRuns: 1_000, seed: 26 },
  )
  t.pass()
})
