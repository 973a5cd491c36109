import test from 'ava'
import { type ErrorCode, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { World } from './world.ts'

const DEADLINE_MS = 10_000

async function failure(promise: Promise<unknown>): Promise<WherryError> {
  try {
    await promise
  } catch (error) {
    if (error instanceof WherryError) return error
    throw error
  }
  throw new Error('it succeeded')
}

const code = async (promise: Promise<unknown>): Promise<ErrorCode> => (await failure(promise)).code

test('promise 3: the new holder starts with what the old one left, one epoch later', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.use(2, 'data', 'one two')
  const { id, epoch, last, holder } = await world.record('data')
  t.is(epoch, 2)
  t.is(holder, null)
  t.is(last?.hash, 'hash of one two')
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  t.is(world.host(1).store.trees.get(id), 'one two')
})

test('a host that hears of a release before the old holder has written it down waits for that, and not a second more', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  const mount = world.host(2).agent.mount('data', 'm', DEADLINE_MS)
  await world.clock.advance(2_000)
  world.host(1).store.updateMs = 100
  const startedMs = world.clock.elapsedMs()
  const unmount = world.host(1).agent.unmount('data', 'm')
  await world.clock.until(mount)
  await unmount
  t.true(world.clock.elapsedMs() - startedMs < 1_000, `${world.clock.elapsedMs() - startedMs} ms`)
})

test('promise 9: comparing a tree with its checkpoint longer than the deadline fails the Mount, goes on, and is joined', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  store.captureMs = 25_000
  store.captures = 0
  const startedMs = world.clock.elapsedMs()
  t.is(await world.clock.until(code(agent.mount('data', 'm1', DEADLINE_MS))), 'COPY_RUNNING')
  t.true(world.clock.elapsedMs() - startedMs <= DEADLINE_MS)
  t.is(await world.clock.until(code(agent.mount('data', 'm2', DEADLINE_MS))), 'COPY_RUNNING')
  t.is(
    await world.clock.until(agent.mount('data', 'm3', DEADLINE_MS)).then(({ mountpoint }) => mountpoint !== ''),
    true,
  )
  t.is(store.captures, 1, 'read once for all three')
})

test('promise 9: a Mount behind a long final checkpoint answers in time and counts no use afterwards', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(agent.mount('data', 'm1', DEADLINE_MS))
  const { id } = await world.record('data')
  store.captureMs = 30_000
  await agent.unmount('data', 'm1')
  await world.clock.advance(100)
  const startedMs = world.clock.elapsedMs()
  t.is(await world.clock.until(code(agent.mount('data', 'm2', DEADLINE_MS))), 'VOLUME_BUSY')
  t.true(world.clock.elapsedMs() - startedMs <= DEADLINE_MS)
  await world.clock.advance(60_000)
  t.deepEqual((await store.copy(id))?.mounts, {})
  t.is((await world.record('data')).holder, null)
})

test('promise 9: a copy longer than the deadline goes on, and the next Mount gets what it brought', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  world.pullMs = 15_000
  const { agent } = world.host(2)
  t.is(await world.clock.until(code(agent.mount('data', 'm1', DEADLINE_MS))), 'COPY_RUNNING')
  world.pullMs = 1_000_000
  await world.clock.until(agent.mount('data', 'm2', DEADLINE_MS))
  t.is((await agent.moves()).filter(({ state }) => state === 'done').length, 1)
})

test('a copy that cannot succeed fails the Mount at once, with the reason', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  const { agent, store } = world.host(2)
  store.stageError = new WherryError('DISK_FULL', 'The disk of h2 is full.')
  const startedMs = world.clock.elapsedMs()
  t.is(await world.clock.until(code(agent.mount('data', 'm', 100_000))), 'DISK_FULL')
  t.true(world.clock.elapsedMs() - startedMs < 5_000)
})

test('a container that is restarted at once gets the volume back without a checkpoint in between', async (t) => {
  const world = await World.start(1)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  // The engine still shows the container as running when it unmounts.
  host.users = [{ id: 'c', name: 'c', state: 'running', volumes: ['data'] }]
  host.store.captures = 0
  await host.agent.unmount('data', 'm')
  await world.clock.advance(50)
  const startedMs = world.clock.elapsedMs()
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  t.true(world.clock.elapsedMs() - startedMs < 1_000)
  t.is(host.store.captures, 0)
  t.is((await world.record('data')).epoch, 1)
})

test('a Mount that arrives at any moment of a release gets the volume, and is told no lie about its data', async (t) => {
  for (let afterMs = 0; afterMs <= 500; afterMs += 25) {
    const world = await World.start(1)
    const { agent, store } = world.host(1)
    await agent.create('data', DEFAULT_OPTIONS)
    await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
    const { id } = await world.record('data')
    store.trees.set(id, 'one')
    store.updateMs = 100
    const unmount = agent.unmount('data', 'm')
    await world.clock.advance(afterMs)
    const { mountpoint } = await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
    t.is(mountpoint, `/mnt/${id}`, `${afterMs} ms after the Unmount`)
    await unmount
  }
})

test('promise 1: a volume whose container still writes is not released, whatever was unmounted', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  host.users = [{ id: 'c', name: 'c', state: 'running', volumes: ['data'] }]
  await host.agent.unmount('data', 'm')
  t.is(await world.clock.until(code(world.host(2).agent.mount('data', 'm', 60_000))), 'VOLUME_HELD_ELSEWHERE')
  // What runs has a use again, so that its checkpoints go on; it is dropped like any other whose Unmount never came.
  const { id } = await world.record('data')
  t.deepEqual((await host.store.copy(id))?.mounts, { 'container c': 1 })
  host.users = []
  await world.clock.until(world.host(2).agent.mount('data', 'm', 60_000))
})

test('promise 8: a late Unmount on the old host never touches the new holder', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.until(world.host(2).agent.mount('data', 'use', DEADLINE_MS))
  await world.host(1).agent.unmount('data', 'use')
  await world.clock.advance(30_000)
  const { id, holder } = await world.record('data')
  t.is(holder?.host, 'h2')
  t.true(world.host(2).store.mountedIds.has(id))
})

test('promise 8: a request that knows an older epoch than the source is refused', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  const request = { volume: id, epoch: 1, want: { kind: 'live' as const } }
  t.is(await code(world.host(1).agent.source(request, peerAt('h2'), new AbortController().signal)), 'STALE_EPOCH')
})

test('promise 2: files changed behind the back of an idle copy are never mounted and never overwritten', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  const { id } = await world.record('data')
  store.trees.set(id, 'tampered')
  t.is(await world.clock.until(code(agent.mount('data', 'm', DEADLINE_MS))), 'COPY_DAMAGED')
  t.is(store.trees.get(id), 'tampered')
  store.trees.set(id, 'one')
  await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
})

test('promise 2: a Mount that joins a copy whose source went away names that host and for how long', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', DEFAULT_OPTIONS)
  world.pullMs = 600_000
  await world.use(1, 'data', 'one')
  // The catch-up has dialled h1; no reply comes any more, and no error either.
  await world.pass(5_000)
  t.is(world.pulls.length, 1)
  h1.connected = false
  await world.pass(20_000)
  const refused = await world.clock.until(failure(h2.agent.mount('data', 'm', DEADLINE_MS)))
  t.is(refused.code, 'DATA_UNREACHABLE', refused.message)
  t.regex(refused.message, /"data" is on h1 \(h1\), not heard from for \d+ s/)
})
