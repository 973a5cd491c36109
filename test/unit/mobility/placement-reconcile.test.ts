import test from 'ava'
import type { CopyState } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const MINUTE_MS = 60_000
/** Short, so that less time has to pass here; longer than a lease and an expiry. */
const GRACE_MS = 60_000

/** Who has what, by the record. */
async function states(world: World): Promise<Record<string, CopyState>> {
  const { copies } = await world.record('data')
  return Object.fromEntries(Object.entries(copies).map(([host, { state }]) => [host, state]))
}

/** Trees of the volume that are on disks, outside any trash. */
async function trees(world: World): Promise<Record<string, string>> {
  const { id } = await world.record('data')
  return Object.fromEntries(
    world.hosts.flatMap(({ name, store }) => (store.trees.has(id) ? [[name, store.trees.get(id) ?? '']] : [])),
  )
}

/** Three hosts, and a volume that h1 has written and released, with its second copy on h2. */
async function twoCopies(count = 3): Promise<World> {
  const world = await World.start(count, GRACE_MS)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.advance(MINUTE_MS)
  return world
}

test('an idle volume gets as many copies as it should have, each on one host', async (t) => {
  const world = await twoCopies()
  t.deepEqual(await states(world), { h1: 'current', h2: 'current' })
  t.deepEqual(await trees(world), { h1: 'one', h2: 'one' })
  t.true((await world.record('data')).copies.h2?.kept)
})

test('a volume that is held for the first time is checkpointed to a second host', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(world.host(1).agent.mount('data', 'm', 10_000))
  const { id } = await world.record('data')
  world.host(1).store.trees.set(id, 'written while held')
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(await trees(world), { h1: 'written while held', h2: 'written while held' })
  t.is((await states(world)).h2, 'current')
})

test('a host that is gone is replaced after the grace time, not before; when it is back, one copy too many goes, later', async (t) => {
  const world = await twoCopies()
  world.host(2).connected = false
  await world.clock.advance(0.9 * GRACE_MS)
  t.deepEqual(Object.keys(await trees(world)), ['h1', 'h2'])
  await world.clock.advance(GRACE_MS)
  t.deepEqual(await states(world), { h1: 'current', h2: 'current', h3: 'current' })
  world.host(2).connected = true
  await world.clock.advance(0.9 * GRACE_MS)
  t.is(Object.keys(await trees(world)).length, 3)
  await world.clock.advance(GRACE_MS)
  t.is(Object.keys(await trees(world)).length, 2)
  t.is(Object.keys(await states(world)).length, 2)
})

for (const [what, restarted] of [
  ['was cut off', false],
  ['has died', true],
] as const) {
  test(`a copy whose host ${what} and is back too late is not brought up to date: it is the one that goes`, async (t) => {
    const world = await twoCopies()
    const lost = world.host(2)
    if (restarted) lost.kill()
    lost.connected = false
    await world.clock.advance(2 * GRACE_MS)
    await world.use(1, 'data', 'two')
    await world.clock.advance(GRACE_MS)
    t.like(await states(world), { h1: 'current', h3: 'current' })
    world.pulls.length = 0
    lost.connected = true
    if (restarted) await lost.restart()
    await world.clock.advance(0.9 * GRACE_MS)
    t.deepEqual(await states(world), { h1: 'current', h2: 'behind', h3: 'current' })
    for (const host of world.hosts) {
      const { copies } = await host.agent.get('data', new AbortController().signal)
      const whys = copies.map((copy) => [copy.host, copy.why])
      t.deepEqual(Object.fromEntries(whys), { h1: null, h2: 'one too many: it will be dropped', h3: null })
    }
    await world.clock.advance(GRACE_MS)
    t.deepEqual(world.pulls, [])
    t.deepEqual(await trees(world), { h1: 'two', h3: 'two' })
    t.deepEqual(await states(world), { h1: 'current', h3: 'current' })
  })
}

test('promise 7: a copy that is one too many and behind is brought up to date when another one is away', async (t) => {
  const world = await twoCopies()
  world.host(2).connected = false
  await world.clock.advance(2 * GRACE_MS)
  await world.use(1, 'data', 'two')
  await world.clock.advance(GRACE_MS)
  world.host(2).connected = true
  await world.clock.advance(0.5 * GRACE_MS)
  t.is((await states(world)).h2, 'behind')
  world.host(3).connected = false
  await world.clock.advance(20_000)
  t.is((await states(world)).h2, 'current')
})

test('a host that was cut off for longer than the grace time does not take all others for gone', async (t) => {
  const world = await twoCopies()
  world.host(3).connected = false
  await world.clock.advance(3 * GRACE_MS)
  world.host(3).connected = true
  await world.clock.advance(30_000)
  t.deepEqual(await states(world), { h1: 'current', h2: 'current' })
})

test('a drained host gives its copy away at once and says what it waits for', async (t) => {
  const world = await twoCopies()
  world.host(3).connected = false
  await world.clock.advance(2 * GRACE_MS)
  const { agent } = world.host(2)
  t.like(await agent.drain(true), { draining: true, host: 'h2 (h2)' })
  await world.clock.advance(10_000)
  // With h1 alone left, one copy is all there can be.
  t.deepEqual(await agent.drain(true), { host: 'h2 (h2)', draining: true, left: [] })
  t.deepEqual(await trees(world), { h1: 'one' })
  t.is(world.host(2).store.inTrash.size, 1)
  world.host(3).connected = true
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(await trees(world), { h1: 'one', h3: 'one' })
})

test('promise 7: a drained host keeps the last copy until another one is whole', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.use(1, 'data', 'one')
  world.pullMs = 90_000
  await world.host(1).agent.drain(true)
  await world.clock.advance(MINUTE_MS)
  t.deepEqual((await world.host(1).agent.drain(true)).left, [
    { volume: 'data', why: 'waits until the newest checkpoint is complete on h2 (h2)' },
  ])
  t.is((await trees(world)).h1, 'one')
  await world.clock.advance(2 * MINUTE_MS)
  t.deepEqual(await trees(world), { h2: 'one' })
})

test('a drained host says which container keeps a volume there; nobody takes a copy to a drained host', async (t) => {
  const world = await World.start(2)
  const { agent } = world.host(1)
  await agent.create('data', DEFAULT_OPTIONS)
  await world.host(2).agent.drain(true)
  await world.clock.until(agent.mount('data', 'm', 10_000))
  world.host(1).users = [{ id: 'c', name: 'db', state: 'running', volumes: ['data'] }]
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(Object.keys(await trees(world)), ['h1'])
  await agent.drain(true)
  t.deepEqual((await agent.drain(true)).left, [{ volume: 'data', why: 'in use here by container db' }])
  t.false((await agent.drain(false)).draining)
})

test('a volume that moves back and forth keeps both copies; one that stays gives up what is too many', async (t) => {
  const world = await World.start(2, GRACE_MS)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  for (const [turn, tree] of ['one', 'two', 'three', 'four'].entries()) {
    await world.use(1 + (turn % 2), 'data', tree)
    await world.clock.advance(0.8 * GRACE_MS)
    t.is(Object.keys(await trees(world)).length, turn === 0 ? 1 : 2, tree)
  }
  await world.clock.advance(GRACE_MS)
  t.is(Object.keys(await trees(world)).length, 1)
  await world.use(1, 'data', 'five')
  t.is((await world.record('data')).last?.hash, 'hash of five')
})

test('promise 4: an answer that is lost, or a crash, while a copy is given up leaves record and disk in agreement', async (t) => {
  const world = await twoCopies()
  let lost = 0
  world.registry.afterWrite = (record) => {
    if (record.copies.h2 !== undefined || lost > 0) return
    lost++
    throw new Error('the answer is lost')
  }
  await world.host(2).agent.drain(true)
  await world.clock.advance(MINUTE_MS)
  t.is(lost, 1)
  t.deepEqual(await trees(world), { h1: 'one', h3: 'one' })
  t.deepEqual(await states(world), { h1: 'current', h3: 'current' })

  // Killed between the write and the trash: the copy is made known again before it may go.
  const { store } = world.host(3)
  const trash = store.trash.bind(store)
  store.trash = () => new Promise(() => {})
  await world.host(2).agent.drain(false)
  await world.host(3).agent.drain(true)
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(await states(world), { h1: 'current', h2: 'current' })
  t.is((await trees(world)).h3, 'one')
  store.trash = trash
  await world.host(3).restart()
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(await trees(world), { h1: 'one', h2: 'one' })
  t.deepEqual(await states(world), { h1: 'current', h2: 'current' })
})

test('promise 7: a copy beside which writes are kept that the cluster never got is not put away', async (t) => {
  const world = await twoCopies()
  const { id } = await world.record('data')
  const put = { name: '1-0', epoch: 1, base: null, at: '', bytes: null }
  await world.host(2).store.update(id, { diverged: [put] })
  await world.host(2).agent.drain(true)
  await world.clock.advance(2 * MINUTE_MS)
  t.regex((await world.host(2).agent.drain(true)).left[0]?.why ?? '', /diverged/)
  t.is((await trees(world)).h2, 'one')
})

test('a copy that the record has and the disk has not is made again', async (t) => {
  const world = await twoCopies()
  const { id } = await world.record('data')
  await world.host(2).store.trash(id)
  await world.clock.advance(MINUTE_MS)
  t.deepEqual(await trees(world), { h1: 'one', h2: 'one' })
})

test('a registry that has lost changes stops placement for what the disks know better', async (t) => {
  const world = await twoCopies()
  const { id } = await world.record('data')
  await world.host(2).store.update(id, { epochSeen: 99 })
  await world.host(2).agent.drain(true)
  await world.clock.advance(2 * MINUTE_MS)
  t.is((await trees(world)).h2, 'one')
})

test('a host that waits for others to compare their copies, before it drops its own, keeps house meanwhile', async (t) => {
  const world = await World.start(2)
  for (const name of ['one', 'two', 'three', 'four']) {
    await world.host(1).agent.create(name, DEFAULT_OPTIONS)
    await world.use(1, name, name)
  }
  await world.clock.advance(MINUTE_MS)
  const drained = world.host(2)
  t.is(drained.store.trees.size, 4)
  // It was rebooted: all has to be read.
  world.host(1).store.captureMs = 10 * MINUTE_MS
  let askedMs = world.clock.elapsedMs()
  let longestMs = 0
  Object.defineProperty(drained, 'users', {
    get: () => {
      longestMs = Math.max(longestMs, world.clock.elapsedMs() - askedMs)
      askedMs = world.clock.elapsedMs()
      return []
    },
  })
  await drained.agent.drain(true)
  await world.clock.advance(3 * MINUTE_MS)
  t.true(longestMs < 10_000, `the engine was not asked for ${longestMs} ms`)
  t.is(drained.store.trees.size, 4)
  // Each of the trees is compared once, however long that takes: nobody waits for it so long.
  await world.clock.advance(45 * MINUTE_MS)
  t.is(drained.store.trees.size, 0)
})
