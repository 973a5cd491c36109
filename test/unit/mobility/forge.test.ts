import test from 'ava'
import type { Checkpoint, HostRecord, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { Query } from '../../../agent/transfer/contract.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { World } from './world.ts'

/** What a peer makes up has this content. */
const FORGED: Checkpoint = {
  epoch: 1001,
  seq: 1,
  hash: hashOf('evil'),
  at: new Date(0).toISOString(),
  bytes: 4,
  files: 1,
}
const never = new AbortController().signal

/** Three hosts; h1 and h2 have an idle volume, and h3 has nothing to do with it but its certificate. */
async function ground() {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'precious')
  await world.use(1, 'data', 'precious')
  await world.pass(30_000)
  const record = await world.record('data')
  const { id } = record
  // In the real world it serves what it likes.
  const { store } = world.host(3)
  await store.create({ id, name: 'data', options: record.options })
  store.trees.set(id, 'evil')
  await store.update(id, { checkpoint: FORGED, epochSeen: 1001 })
  return { world, record, id, victim: world.host(2) }
}

type Ground = Awaited<ReturnType<typeof ground>>

/** Asks h2, over a connection with h3's certificate. Returns the error's code, or null. */
async function ask({ world, victim }: Ground, question: Query, address = 'h3'): Promise<string | null> {
  const asked = victim.agent.answer(question, peerAt(address), never)
  return await world.clock.until(asked).then(
    () => null,
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  )
}

function offerOf(record: VolumeRecord, change: Partial<VolumeRecord>, from: string, checkpoint = FORGED): Query {
  const holder = { host: from, incarnation: 'x', since: '' }
  return { kind: 'offer', record: { ...record, epoch: 1001, holder, ...change }, checkpoint, from }
}

/** The copy that a host has, with what must not change. */
async function stateOf({ world, victim, id }: Ground) {
  const copy = await victim.store.copy(id)
  const { checkpoint, epochSeen, diverged, recordSeen } = copy ?? {}
  const pulls = world.pulls.filter(({ by }) => by === victim.name).length
  return { tree: victim.store.trees.get(id), checkpoint, epochSeen, diverged, recordSeen, pulls }
}

test('an offer of a host that does not hold the volume changes nothing', async (t) => {
  const on = await ground()
  const before = await stateOf(on)
  t.is(before.tree, 'precious')
  const { record } = on
  const seized = { epoch: 1001, from: 'h2', by: 'h3', at: '', base: { epoch: 1, seq: 9, hash: 'x' }, ageSeconds: 0 }
  const forged: Query[] = [
    offerOf(record, {}, 'h3'),
    // The epoch that the registry has, and another incarnation.
    offerOf(record, { epoch: record.epoch }, 'h3', { ...FORGED, epoch: record.epoch, seq: 999 }),
    offerOf(record, { epoch: record.epoch + 1 }, 'h3', { ...FORGED, epoch: record.epoch + 1 }),
    // Take-overs alone would have the tree set aside.
    offerOf(record, { epoch: record.epoch, holder: null, seizures: [seized] }, 'h3'),
    offerOf(record, { seizures: [seized], seizuresCut: { epoch: 1000, hosts: [] } }, 'h3'),
    offerOf({ ...record, id: 'unknown', name: 'unknown' }, {}, 'h3'),
    offerOf({ ...record, name: 'unknown' }, {}, 'h3'),
    offerOf({ ...record, copies: {} }, {}, 'h3'),
  ]
  for (const question of forged) t.is(await ask(on, question), 'STALE_EPOCH', JSON.stringify(question))
  t.deepEqual(await stateOf(on), before)
  t.is(await on.victim.store.copy('unknown'), null)
  await t.notThrowsAsync(on.world.clock.until(on.victim.agent.mount('data', 'm', 5_000)))
  t.is(on.victim.store.trees.get(on.id), 'precious')
})

test('an offer in the name of another host is refused: the certificate is not made out for its address', async (t) => {
  const on = await ground()
  const { world, id } = on
  await world.clock.until(world.host(1).agent.mount('data', 'm', 100_000))
  await world.pass(15_000)
  const record = await world.record('data')
  const before = await stateOf(on)
  const checkpoint = { ...FORGED, epoch: record.epoch, seq: 999 }
  const genuine: Query = { kind: 'offer', record, checkpoint, from: 'h1' }
  t.is(await ask(on, genuine, 'h3'), 'PEER_REFUSED')
  t.is(await ask(on, { ...genuine, from: 'h2' }, 'h3'), 'PEER_REFUSED')
  t.is(await ask(on, { ...genuine, from: 'h9' }, 'h3'), 'STALE_EPOCH')
  t.deepEqual(await stateOf(on), before)
  // The holder itself is believed, and so is what it has.
  world.host(1).store.trees.set(id, 'precious and more')
  await world.pass(15_000)
  t.is(on.victim.store.trees.get(id), 'precious and more')
})

test('while the registry is away, an offer counts only under the hold that this disk has noted from it', async (t) => {
  const on = await ground()
  const { world, id } = on
  await world.clock.until(world.host(1).agent.mount('data', 'm', 100_000))
  world.host(1).store.trees.set(id, 'precious and')
  await world.pass(15_000)
  const record = await world.record('data')
  world.registry.away = true
  const checkpoint = { ...FORGED, epoch: record.epoch, seq: 999 }
  const before = await stateOf(on)
  t.is(before.tree, 'precious and')
  t.like(before.recordSeen, { epoch: record.epoch, holder: { host: 'h1' } })
  const forged: Query[] = [
    offerOf(record, {}, 'h3'),
    offerOf(record, { epoch: record.epoch }, 'h3', checkpoint),
    offerOf(record, { epoch: record.epoch, holder: record.holder }, 'h3', checkpoint),
    offerOf({ ...record, id: 'unknown', name: 'unknown' }, {}, 'h3'),
  ]
  for (const question of forged) t.is(await ask(on, question), 'STALE_EPOCH', JSON.stringify(question))
  t.is(await ask(on, { kind: 'offer', record, checkpoint, from: 'h1' }), 'PEER_REFUSED')
  t.deepEqual(await stateOf(on), before)
  t.is(await on.victim.store.copy('unknown'), null)
  // Promise 5: the holder's own checkpoints go on all the same.
  world.leaderSeen = false
  world.host(1).store.trees.set(id, 'precious and more')
  await world.pass(15_000)
  t.is(on.victim.store.trees.get(id), 'precious and more')
})

test('a host whose heartbeat names another address cannot offer, and what it makes others believe is little', async (t) => {
  const on = await ground()
  const { world, record } = on
  const entry = (await world.registry.hosts()).find(({ value }) => value.id === 'h3')
  if (entry === undefined) return t.fail()
  const lie: HostRecord = { ...entry.value, address: 'h1', renewal: entry.value.renewal + 1_000 }
  t.is((await world.registry.updateHost(lie, entry.revision)).outcome, 'done')
  await world.pass(1_500)
  t.is(await ask(on, offerOf(record, {}, 'h3')), 'PEER_REFUSED')
  t.is((await stateOf(on)).tree, 'precious')
})
