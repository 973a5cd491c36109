import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { World } from './world.ts'

const DEADLINE_MS = 10_000
const calm = new AbortController().signal

/** Two hosts with the same checkpoint; the tree on the second has rotted. */
async function rotten(): Promise<{ world: World; id: string }> {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS))
  await world.host(2).agent.unmount('data', 'm')
  await world.clock.advance(30_000)
  const { id } = await world.record('data')
  world.host(2).store.trees.set(id, 'rotten')
  return { world, id }
}

test('a damaged copy is named, taken off what others count on, and fetched again from a host that has it whole', async (t) => {
  const { world, id } = await rotten()
  const { agent, store } = world.host(2)
  t.is((await world.record('data')).copies.h2?.state, 'current')
  world.pullMs = 5_000
  const found = await world.clock.until(agent.verify('data', calm))
  t.is(found.damagedCount, 1)
  t.true(found.repairing)
  t.is((await world.record('data')).copies.h2?.state, 'behind')
  await world.clock.advance(30_000)
  t.is(store.trees.get(id), 'one')
  t.is((await world.record('data')).copies.h2?.state, 'current')
  t.is((await world.clock.until(agent.verify('data', calm))).damagedCount, 0)
})

test('promise 2: the only copy is never mounted once it is known to be damaged, and never replaced', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  const { id } = await world.record('data')
  store.trees.set(id, 'rotten')
  t.false((await world.clock.until(agent.verify('data', calm))).repairing)
  const refused = { code: 'COPY_DAMAGED', message: /"file"/ }
  await t.throwsAsync(world.clock.until(agent.mount('data', 'm', DEADLINE_MS)), refused)
  t.is(store.trees.get(id), 'rotten')
})

test('a damaged copy is not handed to other hosts', async (t) => {
  const { world, id } = await rotten()
  world.pullMs = 60_000
  await world.clock.until(world.host(2).agent.verify('data', calm))
  const { epoch, last } = await world.record('data')
  const request = { volume: id, epoch, want: { kind: 'checkpoint' as const, hash: last?.hash ?? '' } }
  await t.throwsAsync(world.host(2).agent.source(request, peerAt('asker'), calm), { code: 'NOT_AT_CHECKPOINT' })
})

test('a Mount does not wait for a verification', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  store.captureMs = 5_000
  const verified = t.throwsAsync(agent.verify('data', calm), { code: 'VOLUME_IN_USE' })
  await world.clock.advance(1_000)
  const startedMs = world.clock.elapsedMs()
  await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
  t.true(world.clock.elapsedMs() - startedMs < 8_000)
  await verified
})

test('what is not here cannot be verified', async (t) => {
  const world = await World.start(2)
  await t.throwsAsync(world.clock.until(world.host(1).agent.verify('none', calm)), { code: 'VOLUME_NOT_FOUND' })
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await t.throwsAsync(world.clock.until(world.host(2).agent.verify('data', calm)), { code: 'NOT_AT_CHECKPOINT' })
})
