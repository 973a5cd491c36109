import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const DEADLINE_MS = 100_000
/** What is promised of a small change on warm copies. */
const CAUGHT_UP_MS = 3_000
const MOST_AT_ONCE = 4

/** Hosts with a copy each of an idle volume. */
async function warm(count: number, ...names: string[]): Promise<World> {
  const world = await World.start(count)
  for (const name of names) {
    await world.host(1).agent.create(name, { ...DEFAULT_OPTIONS, copies: count })
    await world.use(1, name, 'one')
  }
  await world.clock.advance(30_000)
  world.pulls.length = 0
  return world
}

/** h1 writes and releases. */
async function change(world: World, name: string, tree: string): Promise<void> {
  const { agent, store } = world.host(1)
  await world.clock.until(agent.mount(name, 'm', DEADLINE_MS))
  store.trees.set((await world.record(name)).id, tree)
  await agent.unmount(name, 'm')
  await world.clock.advance(0)
}

async function currentOn(world: World, name: string): Promise<string[]> {
  const { copies } = await world.record(name)
  return Object.keys(copies)
    .filter((host) => copies[host]?.state === 'current')
    .toSorted()
}

test('after a release the other copies have the newest checkpoint within 3 s', async (t) => {
  const world = await warm(3, 'data')
  world.pullMs = 500
  await change(world, 'data', 'two')
  t.deepEqual(await currentOn(world, 'data'), ['h1'])
  await world.clock.advance(CAUGHT_UP_MS)
  t.deepEqual(await currentOn(world, 'data'), ['h1', 'h2', 'h3'])
  const { id } = await world.record('data')
  t.deepEqual([world.host(2).store.trees.get(id), world.host(3).store.trees.get(id)], ['two', 'two'])
})

test('the first copy of a volume that was used for a moment only is made within seconds', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.advance(7_000)
  t.deepEqual(await currentOn(world, 'data'), ['h1', 'h2'])
})

test('the next Mount after a release has the sources to itself, and makes catch-ups needless', async (t) => {
  const world = await warm(3, 'data')
  world.pullMs = 800
  await change(world, 'data', 'two')
  const startMs = world.clock.elapsedMs()
  await world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS))
  t.true(world.clock.elapsedMs() - startMs <= 1_000)
  t.deepEqual(
    world.pulls.map(({ by }) => by),
    ['h2'],
  )
})

test('a catch-up gives way to a Mount elsewhere at once, and goes on when that has its data', async (t) => {
  const world = await warm(3, 'data', 'other')
  world.pullMs = 5_000
  await change(world, 'data', 'two')
  await change(world, 'other', 'two')
  await world.clock.advance(1_500)
  const pullsOf = (end: string | null) =>
    world.pulls.filter((pull) => pull.end === end).map(({ by, volume }) => `${by} ${volume}`)
  t.is(pullsOf(null).length, 4, 'both hosts copy both volumes')
  const startMs = world.clock.elapsedMs()
  await world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS))
  t.true(world.clock.elapsedMs() - startMs < world.pullMs, 'it joins the catch-up of its own host')
  t.deepEqual(pullsOf('done'), ['h2 data'])
  t.deepEqual(pullsOf('cut').toSorted(), ['h2 other', 'h3 data', 'h3 other'], 'all of them read from the same host')
  t.is(world.pulls.length, 4)
  await world.clock.advance(12_000)
  t.deepEqual(await currentOn(world, 'other'), ['h1', 'h2', 'h3'])
})

test('a Mount that needs very long does not keep other volumes at one copy', async (t) => {
  const world = await warm(3, 'data', 'other')
  await change(world, 'data', 'two')
  world.pullMs = 600_000
  void world.host(2).agent.mount('data', 'm', 700_000)
  await world.clock.advance(1_000)
  world.pullMs = 100
  await change(world, 'other', 'two')
  await world.clock.advance(20_000)
  t.deepEqual(await currentOn(world, 'other'), ['h1'])
  await world.clock.advance(20_000)
  t.deepEqual(await currentOn(world, 'other'), ['h1', 'h2', 'h3'])
})

test('many volumes released at once catch up a few at a time, and all of them soon', async (t) => {
  const names = Array.from({ length: 40 }, (_, nth) => `v${nth}`)
  const world = await warm(2, ...names)
  for (const name of names) await world.clock.until(world.host(1).agent.mount(name, 'm', DEADLINE_MS))
  for (const name of names) world.host(1).store.trees.set((await world.record(name)).id, 'two')
  world.pullMs = 200
  await Promise.all(names.map((name) => world.host(1).agent.unmount(name, 'm')))
  for (let step = 0; step < 60; step++) {
    await world.clock.advance(100)
    t.true(world.pulls.filter(({ end }) => end === null).length <= MOST_AT_ONCE)
  }
  for (const name of names) t.deepEqual(await currentOn(world, name), ['h1', 'h2'])
})

test('a copy that cannot catch up is tried again less and less often', async (t) => {
  const world = await warm(2, 'data')
  await change(world, 'data', 'two')
  world.host(2).store.apply = () => Promise.reject(new Error('EMFILE: too many open files'))
  await world.clock.advance(60_000)
  const tries = world.pulls.length
  t.true(tries >= 2 && tries <= 5, `${tries}`)
})

for (const what of ['disk', 'registry'] as const) {
  test(`a ${what} that fails at once while a copy waits to catch up is not asked without a pause`, async (t) => {
    const world = await warm(2, 'data')
    const h2 = world.host(2)
    await change(world, 'data', 'two')
    await world.clock.advance(500)
    let asked = 0
    const fails = (error: Error) => async (): Promise<never> => {
      // An endless loop would never let this test end.
      if (++asked > 1_000) return await new Promise<never>(() => undefined)
      throw error
    }
    const { volume } = world.registry
    if (what === 'disk') h2.store.copy = fails(Object.assign(new Error('EIO: read'), { code: 'EIO' }))
    else world.registry.volume = fails(new WherryError('REGISTRY_UNAVAILABLE', 'No server.'))
    await world.clock.advance(10_000)
    t.true(asked < 200, `asked ${asked} times in 10 s`)
    world.registry.volume = volume
  })
}

test('a copy whose record cannot be read keeps no other from catching up', async (t) => {
  const world = await warm(2, 'data', 'other')
  const { store } = world.host(2)
  await change(world, 'data', 'two')
  await world.clock.advance(500)
  const damaged = (await world.record('data')).id
  const { copy } = store
  store.copy = async (id) => {
    if (id === damaged) throw new WherryError('COPY_DAMAGED', 'volume.json cannot be read')
    return await copy.call(store, id)
  }
  await change(world, 'other', 'two')
  await world.clock.advance(10_000)
  t.deepEqual(await currentOn(world, 'other'), ['h1', 'h2'])
})
