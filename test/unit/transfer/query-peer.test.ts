import { setTimeout as sleep } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { codeOf, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Query, QueryHandler } from '../../../agent/transfer/contract.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { createPeers } from '../../../agent/transfer/receive/query-peer.ts'
import { REPLY_MAX_BYTES } from '../../../agent/transfer/send/answer-query.ts'
import { serveTransfer, TREES_MAX, type TransferServerOptions } from '../../../agent/transfer/send/server.ts'
import { ProtocolViolation } from '../../../agent/transfer/wire/frame.ts'
import { decodeRequest, encodeJson, encodeQuery, encodeRequest } from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL } from '../../../agent/transfer/wire/protocol.ts'
import { untilTrue } from '../until.ts'
import { HOST, LIVE, neverAborted, noise, proxy } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'
import { frame, ground, insult, rawHeader, speaker } from './speaker.ts'

const ID = '01J0000000000000000000TEST'
const CHECKPOINT = { epoch: 3, seq: 9, hash: 'a'.repeat(64), at: '2026-01-01T00:00:00.000Z', bytes: 5, files: 1 }
const RECORD = {
  ...{ id: ID, name: 'data', options: DEFAULT_OPTIONS, createdAt: CHECKPOINT.at, epoch: 3, last: CHECKPOINT },
  holder: { host: 'H1', incarnation: 'i', since: CHECKPOINT.at },
  seizures: [{ epoch: 2, from: 'H1', by: 'H2', at: CHECKPOINT.at, base: CHECKPOINT, ageSeconds: 4 }],
  copies: { H1: { epoch: 3, seq: 9, state: 'current' as const, at: CHECKPOINT.at, kept: true } },
  removedAt: null,
}
const OFFER = { kind: 'offer', record: RECORD, checkpoint: CHECKPOINT, from: 'H1' } as const
const QUESTIONS: readonly Query[] = [
  { kind: 'copy', volume: ID },
  OFFER,
  { kind: 'references', volume: ID, name: 'data', removing: true },
  { kind: 'registry' },
  { kind: 'compare', volume: ID, doubted: true },
  { kind: 'inventory' },
]
const REGISTRY = { kind: 'registry' } as const
const HELLO = frame('hello', encodeJson({ version: PROTOCOL.highest }))

/** A host that answers, and one that asks. */
async function pair(answer: QueryHandler, more: Partial<TransferServerOptions> = {}) {
  await using stack = new AsyncDisposableStack()
  const set = stack.use(await ground())
  const { identity, log } = set
  const source = async () => new MemoryReader([noise(400_000)])
  const server = stack.use(await serveTransfer({ host: HOST, port: 0, identity, source, answer, log, ...more }))
  const all = stack.move()
  return {
    ...set,
    to: { address: HOST, port: server.port },
    server,
    peers: createPeers({ identity }),
    puller: createPuller({ identity, log }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

/** An answer that comes when it is told to, or never. */
function slowAnswer() {
  const asked = Promise.withResolvers<AbortSignal>()
  const said = Promise.withResolvers<unknown>()
  const answer: QueryHandler = (_question, _peer, signal) => {
    asked.resolve(signal)
    signal.addEventListener('abort', () => said.reject(signal.reason), { once: true })
    return said.promise
  }
  return { answer, asked: asked.promise, say: said.resolve }
}

test('every question arrives as it was asked, with the name of the asker, and its answer as it was given', async (t) => {
  const heard: unknown[] = []
  const answers = [{ host: 'H2', held: false }, [1, 'zwei', null], false, 'worker', { hash: null }, undefined]
  await using set = await pair(async (question, peer) => {
    heard.push(question, peer)
    return answers[heard.length / 2 - 1]
  })
  const got = []
  for (const question of QUESTIONS) got.push(await set.peers.ask(set.to, question, neverAborted()))
  t.deepEqual(
    heard,
    QUESTIONS.flatMap((question) => [question, { name: HOST, altNames: `IP Address:${HOST}, DNS:${HOST}` }]),
  )
  t.deepEqual(got, [...answers.slice(0, -1), null])
})

test('what a newer version added to a record crosses with it', async (t) => {
  const heard: Query[] = []
  await using set = await pair(async (question) => heard.push(question))
  const question = { ...OFFER, record: { ...RECORD, future: { x: 1 } } } as Query
  await set.peers.ask(set.to, question, neverAborted())
  t.deepEqual(heard, [question])
})

test("the other host's coded errors are the asker's; of others it learns only that there was one", async (t) => {
  const errors: unknown[] = [
    new WherryError('STALE_EPOCH', 'Host h1 has seen epoch 7.', { hint: 'Ask again.' }),
    new Error('/etc/secret is not there'),
  ]
  await using set = await pair(async () => {
    throw errors.shift()
  })
  const ask = () => set.peers.ask(set.to, REGISTRY, neverAborted())
  const coded = await t.throwsAsync(ask(), { code: 'STALE_EPOCH', message: 'Host h1 has seen epoch 7.' })
  t.is((coded as WherryError).hint, 'Ask again.')
  const other = await t.throwsAsync(ask(), { code: 'INTERNAL' })
  t.false(other?.message.includes('secret'))
  t.true(set.lines.some((line) => line.includes('secret')))
})

test.serial(
  'an inventory of 10,000 copies fits; an answer that is too long is refused by the host that has it',
  async (t) => {
    const copy = {
      id: ID,
      name: 'n'.repeat(200),
      options: DEFAULT_OPTIONS,
      checkpoint: CHECKPOINT,
      diverged: [],
      mounts: {},
    }
    const inventory = Array.from({ length: 10_000 }, (_, nth) => ({ ...copy, epochSeen: nth }))
    const answers: unknown[] = [inventory, 'x'.repeat(REPLY_MAX_BYTES)]
    await using set = await pair(async () => answers.shift())
    const ask = () => set.peers.ask(set.to, { kind: 'inventory' }, neverAborted())
    t.deepEqual(await ask(), inventory)
    await t.throwsAsync(ask(), { code: 'INTERNAL', message: /inventory/ })
  },
)

test("an asker's abort is its own answer, and ends the signal of whoever works on the question", async (t) => {
  const { answer, asked } = slowAnswer()
  await using set = await pair(answer)
  const stop = new AbortController()
  const pending = set.peers.ask(set.to, OFFER, stop.signal)
  const signal = await asked
  t.false(signal.aborted)
  const reason = new Error('the volume was released')
  stop.abort(reason)
  t.is(await t.throwsAsync(pending), reason)
  await untilTrue(() => signal.aborted)
  t.is(await t.throwsAsync(set.peers.ask(set.to, OFFER, stop.signal)), reason)
})

test('a cut is TRANSFER_CUT for the asker, and ends the signal of whoever works on the question', async (t) => {
  const { answer, asked } = slowAnswer()
  await using set = await pair(answer)
  await using line = await proxy(set.to.port)
  const pending = set.peers.ask(line, OFFER, neverAborted())
  const signal = await asked
  // Until the asker has certainly read what the host said first: a cut before that looks like a refusal.
  for (let turn = 0; turn < 20; turn++) await sleep(10)
  line.cut()
  await t.throwsAsync(pending, { code: 'TRANSFER_CUT' })
  await untilTrue(() => signal.aborted)
  await using gone = await proxy(set.to.port)
  const { port } = gone
  await gone[Symbol.asyncDispose]()
  await t.throwsAsync(set.peers.ask({ address: HOST, port }, REGISTRY, neverAborted()), { code: 'TRANSFER_CUT' })
})

test.serial('an answer that is cut in its middle is none', async (t) => {
  await using set = await pair(async () => 'x'.repeat(20_000_000))
  await using line = await proxy(set.to.port, 5_000_000)
  const pending = set.peers.ask(line, REGISTRY, neverAborted())
  await untilTrue(() => line.toAsker() > 1_000_000)
  line.cut()
  await t.throwsAsync(pending, { code: 'TRANSFER_CUT' })
})

test('an answer may take longer than a silent peer is waited for, and a peer that fell silent is given up by both sides', async (t) => {
  const [slow, lost] = [slowAnswer(), slowAnswer()]
  const answers = [slow.answer, lost.answer]
  await using set = await pair((...args) => (answers.shift() as QueryHandler)(...args))
  await using line = await proxy(set.to.port)
  const pending = set.peers.ask(set.to, OFFER, neverAborted())
  await slow.asked
  const unheard = set.peers.ask(line, OFFER, neverAborted())
  const signal = await lost.asked
  line.silence()
  await t.throwsAsync(unheard, { code: 'TRANSFER_CUT', message: /no byte came/ })
  await untilTrue(() => signal.aborted)
  await sleep(2_000)
  slow.say('at last')
  t.is(await pending, 'at last')
})

test('hosts of another CA neither ask nor answer', async (t) => {
  let heard = 0
  await using set = await pair(async () => heard++)
  await using other = await ground()
  await t.throwsAsync(createPeers({ identity: other.identity }).ask(set.to, REGISTRY, neverAborted()), {
    code: 'TLS_REFUSED',
  })
  t.is(heard, 0)
})

test('questions do not wait for the bandwidth that copies use', async (t) => {
  await using set = await pair(async () => 'here', { bandwidthBytesPerSecond: 100_000 })
  const stop = new AbortController()
  const copies = 8
  const pulls = Array.from({ length: copies }, () => set.puller.pull(set.to, LIVE, new MemoryWriter(), stop.signal))
  const ended = Promise.allSettled(pulls)
  await sleep(300)
  const startedMs = performance.now()
  const answer = await set.peers.ask(set.to, REGISTRY, neverAborted()).catch((error) => error)
  const tookMs = performance.now() - startedMs
  stop.abort(new Error('enough'))
  t.true((await ended).every(({ status }) => status === 'rejected'))
  t.is(answer, 'here')
  // All that is queued before it takes half a minute.
  t.true(tookMs < 5_000, `${tookMs} ms`)
})

test.serial('trees beyond the most at once are refused until one has ended; questions are not', async (t) => {
  let opened = 0
  const source: TransferServerOptions['source'] = (_request, _peer, signal) => {
    opened += 1
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  await using set = await pair(async () => 'here', { source })
  const stop = new AbortController()
  const pull = () => set.puller.pull(set.to, LIVE, new MemoryWriter(), stop.signal)
  const ends: Promise<unknown>[] = []
  for (let nth = 1; nth <= TREES_MAX; nth++) {
    ends.push(pull().catch((error) => error))
    await untilTrue(() => opened === nth)
  }
  await t.throwsAsync(pull(), { code: 'TRANSFER_CUT', message: /64 copies/ })
  t.is(await set.peers.ask(set.to, REGISTRY, neverAborted()), 'here')
  const reason = new Error('enough')
  stop.abort(reason)
  t.true((await Promise.all(ends)).every((end) => end === reason))
  // The places are free when the host has heard of the ends.
  const again = new AbortController()
  const next = async (): Promise<unknown> => {
    const error = await set.puller.pull(set.to, LIVE, new MemoryWriter(), again.signal).catch((error) => error)
    return error === reason ? error : next()
  }
  const last = next()
  await untilTrue(() => opened === TREES_MAX + 1)
  again.abort(reason)
  t.is(await last, reason)
})

const asking = (question: unknown) => frame('request', encodeJson({ version: PROTOCOL.highest, question }))
const GOOD = frame('request', encodeQuery(REGISTRY, PROTOCOL.highest))

const TO_ANSWERER: Record<string, Buffer> = {
  'no question': asking(null),
  'a path for a volume': asking({ kind: 'copy', volume: '../../etc' }),
  'an empty volume': asking({ kind: 'copy', volume: '' }),
  'a path for a name': asking({ kind: 'references', volume: ID, name: '../data', removing: true }),
  'a name that is too long': asking({ kind: 'references', volume: ID, name: 'n'.repeat(256), removing: true }),
  'a record with a path for an id': asking({ ...OFFER, record: { ...RECORD, id: '../../etc' } }),
  'a record without copies': asking({ ...OFFER, record: { ...RECORD, copies: undefined } }),
  'a checkpoint with a hash that is none': asking({ ...OFFER, checkpoint: { ...CHECKPOINT, hash: 'A'.repeat(64) } }),
  'a checkpoint of a negative number': asking({ ...OFFER, checkpoint: { ...CHECKPOINT, seq: -1 } }),
  'a checkpoint of no time': asking({ ...OFFER, checkpoint: { ...CHECKPOINT, at: 'soon' } }),
  'an offer from nowhere': asking({ ...OFFER, from: '/' }),
  'a question that is too long': Buffer.concat([rawHeader(256 * 1024 + 1, 2), Buffer.alloc(1_000)]),
  'a second question': Buffer.concat([GOOD, GOOD]),
  'wants after a question': Buffer.concat([GOOD, frame('blockRequestsEnd')]),
  'an answer to no question': Buffer.concat([GOOD, rawHeader(2, 20), Buffer.from('{}')]),
}

test('a host closes the connection of whoever asks nonsense, works on none of it, and answers the next one', async (t) => {
  const { answer } = slowAnswer()
  const heard: Query[] = []
  let answers: QueryHandler = answer
  await using set = await pair((question, ...more) => {
    heard.push(question)
    return answers(question, ...more)
  })
  for (const [name, bytes] of Object.entries(TO_ANSWERER)) {
    const logged = set.lines.length
    await insult(set.identity, set.to.port, bytes)
    const complained = () => set.lines.slice(logged).some((line) => line.includes('broke the transfer protocol'))
    await untilTrue(complained).catch(() => t.fail(`${name}: ${set.lines.slice(logged).join('')}`))
  }
  // Of some of them the beginning was good.
  t.true(heard.length <= 3 && heard.every(({ kind }) => kind === 'registry'))
  answers = async () => 'fine'
  t.is(await set.peers.ask(set.to, REGISTRY, neverAborted()), 'fine')
})

const TO_ASKER: Record<string, Buffer> = {
  'no hello': frame('reply', encodeJson(1)),
  'an answer that is not JSON': Buffer.concat([HELLO, frame('reply', Buffer.from('{{')), frame('end')]),
  'an answer of nothing': Buffer.concat([HELLO, frame('end')]),
  'a tree for an answer': Buffer.concat([HELLO, frame('tree', encodeJson({ hash: 'a'.repeat(64) }))]),
  'an answer of 2 MiB at once': Buffer.concat([HELLO, rawHeader(2 * 1024 * 1024, 20)]),
  'an answer without end': Buffer.concat([HELLO, ...Array(65).fill(frame('reply', Buffer.alloc(1024 * 1024, '1')))]),
  'an empty part': Buffer.concat([HELLO, rawHeader(0, 20)]),
}

test.serial('an asker closes the connection of a host that answers nonsense', async (t) => {
  await using set = await ground()
  for (const [name, bytes] of Object.entries(TO_ASKER)) {
    await using host = await speaker(set.identity, bytes)
    const asked = createPeers({ identity: set.identity }).ask(host, REGISTRY, neverAborted())
    await t.throwsAsync(asked, { code: 'TRANSFER_CUT', message: /broke the transfer protocol/ }, name)
    await untilTrue(() => host.sockets.every((socket) => socket.destroyed || socket.readableEnded))
  }
})

test('a host of another protocol version is told apart from nonsense', async (t) => {
  await using set = await ground()
  await using old = await speaker(set.identity, frame('hello', encodeJson({ version: 2 })))
  const asked = createPeers({ identity: set.identity }).ask(old, REGISTRY, neverAborted())
  await t.throwsAsync(asked, { code: 'VERSION_SKEW', message: /version 2/ })
  const body = encodeJson({ version: 2, question: { kind: 'later' } })
  t.is(codeOf(t.throws(() => decodeRequest(body, HOST))), 'VERSION_SKEW')
})

test('whatever a request says, it is decoded to what it was or refused', (t) => {
  const good = [
    ...QUESTIONS.map((one) => encodeQuery(one, PROTOCOL.highest)),
    encodeRequest(LIVE, PROTOCOL.highest),
  ].map((body) => JSON.parse(body.toString()))
  const paths = (value: unknown): string[][] =>
    value === null || typeof value !== 'object'
      ? [[]]
      : [[], ...Object.entries(value).flatMap(([key, inner]) => paths(inner).map((path) => [key, ...path]))]
  const replaced = (value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown =>
    key === undefined ? by : { ...(value as object), [key]: replaced((value as never)[key], rest, by) }
  const value = fc.oneof(
    fc.jsonValue(),
    fc.nat(9),
    fc.constantFrom(ID, 'data', CHECKPOINT.at, CHECKPOINT.hash, null, {}),
  )
  const one = fc
    .constantFrom(...good)
    .chain((request) =>
      fc.record({ request: fc.constant(request), path: fc.constantFrom(...paths(request)), by: value }),
    )
  let [taken, refused] = [0, 0]
  const id = /^[0-9A-Za-z_-]{1,64}$/
  fc.assert(
    fc.property(one, ({ request, path, by }) => {
      try {
        const decoded = decodeRequest(encodeJson(replaced(request, path, by)), HOST)
        taken += 1
        if ('tree' in decoded) return id.test(decoded.tree.volume)
        const { question } = decoded
        if (question.kind === 'copy') return id.test(question.volume)
        return question.kind !== 'offer' || (id.test(question.record.id) && id.test(question.from))
      } catch (error) {
        refused += 1
        return error instanceof ProtocolViolation || codeOf(error) === 'VERSION_SKEW'
      }
    }),
    { numRuns: 5_000, seed: 26 },
  )
  t.true(taken > 100 && refused > 1_000, `${taken} taken, ${refused} refused`)
})

test('a host that was not told how to answer says so', async (t) => {
  await using set = await ground()
  const { identity, log } = set
  const source = async () => new MemoryReader([])
  await using server = await serveTransfer({ host: HOST, port: 0, identity, source, log })
  const asked = createPeers({ identity }).ask({ address: HOST, port: server.port }, REGISTRY, neverAborted())
  await t.throwsAsync(asked, { code: 'REQUEST_INVALID' })
})
