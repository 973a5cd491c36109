import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const DEADLINE_MS = 10_000

test('promise 11: an agent that dies right after its hold was committed finds it again and lets go of it', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  world.registry.afterWrite = (record) => {
    if (record.holder === null) return
    host.kill()
    throw new Error('no answer')
  }
  const mount = host.agent.mount('data', 'm', DEADLINE_MS)
  await t.throwsAsync(world.clock.until(mount))
  world.registry.afterWrite = () => undefined
  t.is((await world.record('data')).holder?.host, 'h1')
  await host.restart()
  await world.clock.until(world.host(2).agent.mount('data', 'm', 60_000))
  t.is((await world.record('data')).holder?.host, 'h2')
  const { id } = await world.record('data')
  t.is(world.host(2).store.trees.get(id), 'one')
})

test('promise 11: a host whose power was cut gives up the uses of before as soon as its engine has had time to start containers again', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  host.kill()
  host.store.mountedIds.clear()
  await host.restart()
  await world.clock.advance(10_000)
  t.is((await world.record('data')).holder?.host, 'h1')
  await world.clock.advance(15_000)
  t.is((await world.record('data')).holder, null)
  t.deepEqual((await host.store.copy(id))?.mounts, {})
})

test('an agent that starts anew while a container is being started keeps its use: the mount is there', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  await host.restart()
  await world.clock.advance(60_000)
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('promise 11: a Mount that an agent counted and did not live to answer is counted once when it is repeated', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  await host.restart()
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  t.deepEqual((await host.store.copy(id))?.mounts, { m: 1 })
  host.users = [{ id: 'c', name: 'c', state: 'running', volumes: ['data'] }]
  await world.clock.advance(10_000)
  host.users = []
  await host.agent.unmount('data', 'm')
  await world.clock.advance(5_000)
  t.is((await world.record('data')).holder, null)
})

test('promise 11: an Unmount that went with the plugin is found to have come, by an agent that saw neither the container run nor its end', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  host.users = [{ id: 'c', name: 'c', state: 'created', volumes: ['data'] }]
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  await world.clock.advance(100)
  host.kill()
  await world.clock.advance(30_000)
  host.users = [{ id: 'c', name: 'c', state: 'exited', volumes: ['data'] }]
  host.finished.set('c', world.clock.now())
  await world.clock.advance(1_000)
  await host.restart()
  await world.clock.advance(10_000)
  t.is((await world.record('data')).holder, null)
})

test('a second Mount of a container that runs counts, also after a restart of the agent', async (t) => {
  const world = await World.start(1)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  host.users = [{ id: 'c', name: 'c', state: 'running', volumes: ['data'] }]
  await host.restart()
  await world.clock.advance(3_000)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  t.deepEqual((await host.store.copy(id))?.mounts, { m: 2 })
})

test('promise 11: a hold that was only intended when the agent died is taken back, and the volume stays usable', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  world.registry.beforeWrite = (record) => {
    if (record.holder === null) return
    host.kill()
    throw new Error('killed')
  }
  await t.throwsAsync(world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS)))
  world.registry.beforeWrite = () => undefined
  const { id } = await world.record('data')
  t.truthy((await host.store.copy(id))?.held)
  await host.restart()
  await world.clock.advance(5_000)
  t.is((await host.store.copy(id))?.held, null)
  await world.clock.until(world.host(2).agent.mount('data', 'm', 60_000))
  await world.clock.until(world.host(2).agent.unmount('data', 'm'))
  await world.clock.until(host.agent.mount('data', 'm', 60_000))
  t.is((await world.record('data')).epoch, 3)
})

test('promise 11: an agent that dies between the release and its own disk knows that it has released', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  host.store.trees.set(id, 'one')
  world.registry.afterWrite = (record) => {
    if (record.holder !== null || record.last === null) return
    host.kill()
    throw new Error('no answer')
  }
  await host.agent.unmount('data', 'm')
  await world.clock.advance(5_000)
  world.registry.afterWrite = () => undefined
  t.truthy((await host.store.copy(id))?.held)
  t.is((await world.record('data')).holder, null)
  await host.restart()
  await world.clock.advance(5_000)
  t.is((await host.store.copy(id))?.held, null)
  await world.use(2, 'data', 'one two')
  await world.clock.until(host.agent.mount('data', 'm', 60_000))
  t.is(host.store.trees.get(id), 'one two')
})

test('promise 7: writes that the cluster never got are kept as a diverged copy and not overwritten', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.until(host.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  // Somebody forces the volume free while the host is away, and another host goes on with it.
  host.kill()
  const forced = await world.registry.volume('data')
  if (forced === null) throw new Error('no volume')
  const host2 = { host: 'h2', incarnation: 'forced', since: '' }
  await world.registry.updateVolume({ ...forced.value, epoch: 3, holder: host2 }, forced.revision)
  host.store.trees.set(id, 'one and more')
  await host.agent.unmount('data', 'm')
  await host.restart()
  await world.clock.advance(10_000)
  t.deepEqual([...host.store.aside.values()], ['one and more'])
  t.is((await host.store.copy(id))?.diverged.length, 1)
  t.is((await world.record('data')).holder?.host, 'h2')
  await world.clock.advance(120_000)
  t.deepEqual([...host.store.aside.values()], ['one and more'])
})

test('what was sent ahead and never mounted leaves the host again, and the record', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  world.host(1).store.trees.set(id, 'one')
  await t.throwsAsync(world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS)), {
    code: 'VOLUME_HELD_ELSEWHERE',
  })
  t.is((await world.record('data')).copies.h2?.state, 'filling')
  await world.clock.advance(15 * 60_000)
  t.is((await world.record('data')).copies.h2, undefined)
  t.is(await world.host(2).store.copy(id), null)
})

test('promise 10: while the registry is away nothing is said to be missing, and a held volume can be mounted again', async (t) => {
  const world = await World.start(1)
  const { agent } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(agent.mount('data', 'm1', DEADLINE_MS))
  await agent.get('data', new AbortController().signal)
  world.registry.away = true
  t.true((await agent.get('data', new AbortController().signal)).stale)
  await world.clock.until(agent.mount('data', 'm2', DEADLINE_MS))
  await t.throwsAsync(world.clock.until(agent.mount('other', 'm', DEADLINE_MS)), { code: 'REGISTRY_UNAVAILABLE' })
})

test('promise 7: a volume whose creation went unanswered and that was removed meanwhile does not come back under its id', async (t) => {
  const world = await World.start(1)
  const ids: string[] = []
  world.registry.afterWrite = (record) => {
    ids.push(record.id)
    if (ids.length > 1) return
    world.clock.sleep(1, new AbortController().signal).then(async () => {
      const revision = (await world.registry.volume('data'))?.revision ?? 0
      await world.registry.deleteVolume('data', revision)
    })
    throw new Error('no answer')
  }
  await world.clock.until(world.host(1).agent.create('data', DEFAULT_OPTIONS))
  t.is(ids.length, 2)
  t.not(ids[0], ids[1])
  t.is((await world.record('data')).id, ids[1] ?? '')
})

test('removal: a host that was away puts its copy into the trash when it is back, and only that one', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.use(2, 'data', 'two')
  const { id } = await world.record('data')
  world.host(1).kill()
  await world.clock.until(world.host(2).agent.remove('data'))
  await world.host(2).agent.create('data', DEFAULT_OPTIONS)
  await world.use(2, 'data', 'new')
  t.truthy(await world.host(1).store.copy(id))
  await world.host(1).restart()
  await world.clock.advance(5_000)
  t.true(world.host(1).store.inTrash.has(id))
  t.deepEqual(await world.registry.removed(), [])
  t.not((await world.record('data')).id, id)
})

test('a long final checkpoint of one volume holds up nothing else on its host', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  for (const name of ['big', 'small']) await host.agent.create(name, DEFAULT_OPTIONS)
  await world.use(1, 'small', 'one')
  const { id } = await world.record('small')
  await world.clock.until(host.agent.mount('big', 'm', DEADLINE_MS))
  host.store.captureMs = 120_000
  await host.agent.unmount('big', 'm')
  await world.clock.advance(3_000)
  await world.clock.until(world.host(2).agent.remove('small'))
  await world.clock.advance(5_000)
  t.true(host.store.inTrash.has(id))
  t.is((await world.record('big')).holder?.host, 'h1')
  await world.clock.advance(120_000)
  t.is((await world.record('big')).holder, null)
})

/** A container runs on h1; the mount below it has gone with the plugin, and a new agent starts that is cut off. */
async function lostMount() {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(1, 'data', 'one')
  await world.pass(20_000)
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  h1.users = [{ id: 'c', name: 'db', state: 'running', volumes: ['data'] }]
  await world.pass(3_000)
  const { id } = await world.record('data')
  h1.connected = false
  h1.kill()
  h1.store.mountedIds.clear()
  return { world, id, h1, h2 }
}

test('promise 1: a mount that is gone comes back when a write has confirmed the hold, not before', async (t) => {
  const { world, id, h1 } = await lostMount()
  await h1.restart()
  await world.pass(4_000)
  t.false(h1.store.mountedIds.has(id), 'the registry has not been reached')
  h1.connected = true
  await world.pass(5_000)
  t.true(h1.store.mountedIds.has(id))
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('promise 1: a host that has lost its hold without knowing it does not mount the tree again', async (t) => {
  const { world, id, h1, h2 } = await lostMount()
  let wasMounted = false
  const { mount } = h1.store
  h1.store.mount = (which) => {
    wasMounted = true
    return mount.call(h1.store, which)
  }
  const taking = h2.agent.mount('data', 'm', 100_000)
  await world.pass(40_000)
  await world.clock.until(taking)
  await h1.restart()
  await world.pass(10_000)
  h1.connected = true
  await world.pass(20_000)
  t.is((await world.record('data')).holder?.host, 'h2')
  t.is((await h1.store.copy(id))?.held, null)
  t.false(wasMounted)
})
