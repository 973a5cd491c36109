import { connect } from 'node:tls'
import { zstdCompressSync } from 'node:zlib'
import test from 'ava'
import fc from 'fast-check'
import { codeOf, WherryError } from '../../../agent/model/errors.ts'
import { BufferPool } from '../../../agent/runtime/buffer-pool.ts'
import { decodeManifest } from '../../../agent/store/manifest/parser.ts'
import { createPeers } from '../../../agent/transfer/receive/query-peer.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { unpack } from '../../../agent/transfer/wire/compression.ts'
import { FrameDecoder, ProtocolViolation, REQUESTER_FRAMES, SOURCE_FRAMES } from '../../../agent/transfer/wire/frame.ts'
import { splitBatch } from '../../../agent/transfer/wire/frame-batch.ts'
import {
  decodeError,
  decodeRequest,
  encodeError,
  encodeJson,
  encodeQuery,
  encodeRequest,
} from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import {
  decodeChanged,
  decodeFlag,
  decodeOffset,
  decodeRequests,
  encodeChanged,
  encodeOffset,
  encodeRequests,
} from '../../../agent/transfer/wire/request-codec.ts'
import { volumeRecord } from '../registry/records.ts'
import { dir, file, manifestWith } from '../store/manifest/bodies.ts'
import { encode } from '../store/manifest/trees.ts'
import { HOST, LIVE } from '../transfer/kit.ts'
import { frame, ground } from '../transfer/speaker.ts'
import { cases, decodes, isUnpolluted, nearlyBytes } from './hostile-json.ts'

const HASH = 'a'.repeat(64)
const CHECKPOINT = { epoch: 3, seq: 7, hash: HASH, at: '2026-01-02T03:04:05.678Z', bytes: 9, files: 1 }
const REQUESTS = [
  encodeRequest(LIVE, PROTOCOL.highest),
  encodeRequest({ ...LIVE, want: { kind: 'checkpoint', hash: HASH } }, PROTOCOL.highest),
  encodeQuery({ kind: 'copy', volume: LIVE.volume }, PROTOCOL.highest),
  encodeQuery({ kind: 'inventory' }, PROTOCOL.highest),
  encodeQuery({ kind: 'references', volume: LIVE.volume, name: 'data', removing: true }, PROTOCOL.highest),
  encodeQuery({ kind: 'offer', record: volumeRecord('data'), checkpoint: CHECKPOINT, from: 'h1' }, PROTOCOL.highest),
  encodeQuery(
    { kind: 'surrender', volume: LIVE.volume, epoch: 3, incarnation: 'i', want: 'release' },
    PROTOCOL.highest,
  ),
]
const BLOCK_REQUESTS = encodeRequests([
  { kind: 'files', indexes: [1, 2, 3] },
  { kind: 'hashes', index: 4 },
  { kind: 'blocks', run: { index: 4, first: 0, count: 9 } },
])
/** Says `bytes` with a good certificate, ends its side, and waits for the close. */
async function say(certificate: object, port: number, bytes: Buffer): Promise<void> {
  const socket = connect({ ...certificate, host: HOST, port })
  socket.on('error', () => {})
  socket.resume()
  socket.end(bytes)
  await new Promise((resolve) => socket.on('close', resolve))
}

const isViolation = (error: unknown) => error instanceof ProtocolViolation
const isRefused = (error: unknown) => isViolation(error) || codeOf(error) === 'VERSION_SKEW'

test('frames: a decoder takes bytes in any pieces, and refuses what is out of its limits', (t) => {
  const frames = [
    ...REQUESTS.map((body) => frame('request', body)),
    ...BLOCK_REQUESTS.map((body) => frame('blockRequests', body)),
    frame('piece', Buffer.alloc(500, 7), encodeOffset(4_096)),
    frame('error', encodeError(new WherryError('DISK_FULL', 'full'))),
    Buffer.concat([frame('ping'), frame('hello', encodeJson({ version: 5 })), frame('blockRequestsEnd')]),
  ]
  const inputs = fc.tuple(nearlyBytes(frames), fc.integer({ min: 1, max: 64 }))
  for (const accepts of [REQUESTER_FRAMES, SOURCE_FRAMES]) {
    const decode = ([bytes, size]: [Buffer, number]) => {
      const decoder = new FrameDecoder(accepts, new BufferPool())
      for (let at = 0; at < bytes.length; at += size) decoder.push(bytes.subarray(at, at + size))
    }
    decodes(t, inputs, 1_500, decode, isViolation)
  }
})

test('frames: requests, block requests, errors, positions and offsets', (t) => {
  decodes(t, nearlyBytes(REQUESTS), 1_500, (body) => decodeRequest(body, 'h1'), isRefused)
  decodes(t, nearlyBytes(BLOCK_REQUESTS), 1_500, decodeRequests, isViolation)
  const errors = [
    encodeError(new WherryError('DISK_FULL', 'full', { hint: 'Make room.' })),
    encodeError(new Error('x')),
  ]
  decodes(t, nearlyBytes(errors), 500, (body) => decodeError(body, 'h1'), isViolation)
  decodes(t, nearlyBytes([encodeChanged([1, 5, 9])]), 500, (body) => decodeChanged(body, 12), isViolation)
  const heads = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((list) => Buffer.from(list))
  decodes(t, fc.oneof(heads, fc.constant(encodeOffset(7))), 300, decodeOffset, isViolation)
  decodes(
    t,
    fc.nat(255).map((value) => Buffer.from([value])),
    300,
    decodeFlag,
    isViolation,
  )
})

test('frames: batches and compressed bodies never grow beyond what they say', (t) => {
  const batch = Buffer.concat([
    frame('piece', Buffer.alloc(40, 1), encodeOffset(0)),
    frame('runEnd', undefined, Buffer.of(0)),
  ])
  decodes(t, nearlyBytes([batch]), 1_000, (body) => splitBatch(body, new BufferPool()), isViolation)
  const content = Buffer.from('wherry '.repeat(3_000))
  const inputs = fc.tuple(nearlyBytes([zstdCompressSync(content)]), fc.constantFrom(content.length, 1, 1_048_576))
  const decode = ([body, bytes]: [Buffer, number]) => {
    if (unpack(body, bytes).length !== bytes) throw new Error(`not the ${bytes} bytes that were said`)
  }
  decodes(
    t,
    fc.oneof(
      { weight: 9, arbitrary: inputs },
      { weight: 1, arbitrary: fc.constant([zstdCompressSync(content), content.length] as [Buffer, number]) },
    ),
    1_000,
    decode,
    isViolation,
  )
})

test('manifests: whatever is no manifest is refused with its code', async (t) => {
  const long = Array.from({ length: 60 }, (_, n) => [`f${String(n).padStart(3, '0')}`, file()] as const)
  const samples = [manifestWith(), manifestWith(['a', dir()], ['a/b', file()], ['c', file()])]
  const manifests = [...samples, manifestWith(...long)].map(encode)
  const seen = { taken: 0, refused: 0 }
  await fc.assert(
    fc.asyncProperty(nearlyBytes(manifests), fc.integer({ min: 1, max: 400 }), async (bytes, size) => {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) =>
        bytes.subarray(n * size, (n + 1) * size),
      )
      try {
        await decodeManifest(pieces)
        seen.taken++
      } catch (error) {
        if (codeOf(error) !== 'MANIFEST_INVALID') throw error
        seen.refused++
      }
    }),
    cases(1_500),
  )
  t.true(seen.taken > 0 && seen.refused > 0, JSON.stringify(seen))
})

test('transfer server: after any bytes of a host with a certificate the next good query is answered', async (t) => {
  await using set = await ground()
  const { identity, log } = set
  const source = async () => {
    throw new WherryError('VOLUME_NOT_FOUND', 'There is no such volume.')
  }
  await using server = await serveTransfer({ host: HOST, port: 0, identity, source, answer: async () => ({}), log })
  const peers = createPeers({ identity })
  const to = { address: HOST, port: server.port }
  const frames = [
    ...REQUESTS.map((body) => frame('request', body)),
    ...BLOCK_REQUESTS.map((body) => frame('blockRequests', body)),
  ]
  await fc.assert(
    fc.asyncProperty(nearlyBytes(frames), async (bytes) => {
      await say(identity.current(), server.port, bytes)
      t.deepEqual(await peers.ask(to, { kind: 'inventory' }, AbortSignal.timeout(60_000)), {})
      return isUnpolluted()
    }),
    cases(25),
  )
})
