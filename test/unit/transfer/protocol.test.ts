import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Query, QueryHandler } from '../../../agent/transfer/contract.ts'
import { createPuller } from '../../../agent/transfer/receive/puller.ts'
import { createPeers } from '../../../agent/transfer/receive/query-peer.ts'
import { serveTransfer } from '../../../agent/transfer/send/server.ts'
import { encodeJson } from '../../../agent/transfer/wire/message.ts'
import { PROTOCOL, type ProtocolRange } from '../../../agent/transfer/wire/protocol.ts'
import { asNewer, lostFields } from '../../fake/newer-version.ts'
import { HOST, LIVE, neverAborted, noise } from './kit.ts'
import { MemoryReader, MemoryWriter } from './memory-tree.ts'
import { frame, ground, speaker } from './speaker.ts'

const ID = '01J0000000000000000000TEST'
const AT = '2026-01-01T00:00:00.000Z'
const CHECKPOINT = { epoch: 3, seq: 9, hash: 'a'.repeat(64), at: AT, bytes: 5, files: 1 }
const RECORD = {
  ...{ id: ID, name: 'data', options: DEFAULT_OPTIONS, createdAt: AT, epoch: 3, last: CHECKPOINT, removedAt: null },
  holder: { host: 'H1', incarnation: 'i', since: AT },
  seizures: [{ epoch: 2, from: 'H1', by: 'H2', at: AT, base: CHECKPOINT, ageSeconds: 4 }],
  copies: { H1: { epoch: 3, seq: 9, state: 'current' as const, at: AT, kept: true } },
}
/** One question of each kind. A kind that is missing here does not compile. */
const QUESTIONS: { readonly [K in Query['kind']]: Extract<Query, { kind: K }> } = {
  copy: { kind: 'copy', volume: ID },
  offer: { kind: 'offer', record: RECORD, checkpoint: CHECKPOINT, from: 'H1' },
  registry: { kind: 'registry' },
  references: { kind: 'references', volume: ID, name: 'data', removing: true },
  surrender: { kind: 'surrender', volume: ID, epoch: 3, incarnation: 'i', want: 'tree' },
  compare: { kind: 'compare', volume: ID, doubted: true },
  inventory: { kind: 'inventory' },
}
const BEFORE: ProtocolRange = { lowest: PROTOCOL.lowest, highest: PROTOCOL.lowest }
const NEXT: ProtocolRange = { lowest: PROTOCOL.highest, highest: PROTOCOL.highest + 1 }
const FAR: ProtocolRange = { lowest: PROTOCOL.highest + 1, highest: PROTOCOL.highest + 2 }
const PAIRS = [
  { asker: PROTOCOL, source: BEFORE },
  { asker: BEFORE, source: PROTOCOL },
  { asker: PROTOCOL, source: NEXT },
  { asker: NEXT, source: PROTOCOL },
]

/** A host that asks and one that serves, which may be of two versions. */
async function pair(asker: ProtocolRange, source: ProtocolRange, answer: QueryHandler) {
  await using stack = new AsyncDisposableStack()
  const set = stack.use(await ground())
  const { identity, log } = set
  const tree = async () => new MemoryReader([noise(40_000)])
  const options = { host: HOST, port: 0, identity, source: tree, answer, log, spoken: source }
  const server = stack.use(await serveTransfer(options))
  const all = stack.move()
  return {
    to: { address: HOST, port: server.port },
    peers: createPeers({ identity, spoken: asker }),
    puller: createPuller({ identity, log, spoken: asker }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

test('every question and a tree cross between a version and the one before and after it, both ways', async (t) => {
  for (const { asker, source } of PAIRS) {
    const heard: Query[] = []
    await using set = await pair(asker, source, async (question) => {
      heard.push(question)
      return { kind: question.kind }
    })
    for (const question of Object.values(QUESTIONS)) {
      t.deepEqual(await set.peers.ask(set.to, question, neverAborted()), { kind: question.kind })
    }
    t.deepEqual(heard, Object.values(QUESTIONS))
    t.true((await set.puller.pull(set.to, LIVE, new MemoryWriter(), neverAborted())).complete)
  }
})

test('what a newer host adds to a question is ignored, and stays in the record and the checkpoint of an offer', async (t) => {
  const heard: Query[] = []
  await using set = await pair(NEXT, PROTOCOL, async (question) => void heard.push(question))
  const asked = Object.values(QUESTIONS).map((question) => asNewer(question, 1))
  for (const question of asked) await set.peers.ask(set.to, question, neverAborted())
  t.deepEqual(
    heard.map(({ kind }) => kind),
    Object.values(QUESTIONS).map(({ kind }) => kind),
  )
  const offers = [heard, asked].map((all) => all.find((one) => one.kind === 'offer'))
  t.deepEqual(lostFields(offers[1]?.record, offers[0]?.record), [])
  t.deepEqual(lostFields(offers[1]?.checkpoint, offers[0]?.checkpoint), [])
  await set.puller.pull(set.to, asNewer(LIVE, 1), new MemoryWriter(), neverAborted())
})

test('a question that an older host does not know gets a reply that says so, and the next one gets through', async (t) => {
  await using set = await pair(NEXT, PROTOCOL, async () => 'fine')
  const strange = [
    { kind: 'weather', volume: ID },
    { kind: 'toString' },
    { ...QUESTIONS.surrender, want: 'half' },
    { ...QUESTIONS.offer, record: { ...RECORD, options: { ...DEFAULT_OPTIONS, checkpointMs: 'sometimes' } } },
  ]
  for (const question of strange) {
    const asked = set.peers.ask(set.to, question as unknown as Query, neverAborted())
    await t.throwsAsync(asked, { code: 'VERSION_SKEW', message: /older version/ })
  }
  t.is(await set.peers.ask(set.to, QUESTIONS.registry, neverAborted()), 'fine')
  const want = { kind: 'half' } as never
  const pulled = set.puller.pull(set.to, { ...LIVE, want }, new MemoryWriter(), neverAborted())
  await t.throwsAsync(pulled, { code: 'VERSION_SKEW' })
})

test('an offer of a record in a format that the other host cannot read is refused with its writer', async (t) => {
  await using set = await pair(PROTOCOL, PROTOCOL, async () => 'fine')
  const record = { ...RECORD, readableFrom: 99, writtenBy: { host: 'node7', version: '9.9.9' } }
  const asked = set.peers.ask(set.to, { ...QUESTIONS.offer, record }, neverAborted())
  await t.throwsAsync(asked, { code: 'VERSION_SKEW', message: /format 99.*host node7 wrote it with Wherry 9\.9\.9/ })
})

test('hosts without a common version say so, with both, whoever asks', async (t) => {
  for (const { asker, source, older } of [
    { asker: PROTOCOL, source: FAR, older: /Upgrade this host/ },
    { asker: FAR, source: PROTOCOL, older: /Upgrade host 127/ },
  ]) {
    await using set = await pair(asker, source, async () => 'fine')
    const error = await t.throwsAsync(set.peers.ask(set.to, QUESTIONS.registry, neverAborted()), {
      code: 'VERSION_SKEW',
      message: /host 127\.0\.0\.1:\d+ speaks versions \d+ to \d+ .* this host versions \d+ to \d+/,
    })
    t.regex((error as { hint?: string }).hint ?? '', older)
    await t.throwsAsync(set.puller.pull(set.to, LIVE, new MemoryWriter(), neverAborted()), { code: 'VERSION_SKEW' })
  }
})

test('a host of the release before says its version alone, and is understood', async (t) => {
  await using set = await ground()
  const replies = Buffer.concat([frame('reply', encodeJson('fine')), frame('end')])
  await using old = await speaker(set.identity, Buffer.concat([frame('hello', encodeJson({ version: 5 })), replies]))
  t.is(await createPeers({ identity: set.identity }).ask(old, QUESTIONS.registry, neverAborted()), 'fine')
})
