import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const HEARTBEAT_MS = 1_000
const user = (id: string) => ({ id, name: id, state: 'running', volumes: ['data'] })

/** h1 holds the volume with a container, and h2 has a current copy. */
async function held() {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(2, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'one')
  h1.users = [user('c1')]
  await world.pass(30_000)
  return { world, h1, h2, id }
}

test('promise 1: a machine that stood still with its clocks, and was taken over from, fences with its first heartbeat and gives up', async (t) => {
  const { world, h1, h2, id } = await held()
  h1.stopMachine()
  const mounting = h2.agent.mount('data', 'm', 100_000)
  await world.pass(40_000)
  await world.clock.until(mounting)
  h2.users = [user('c2')]
  h1.store.trees.set(id, 'one and what only h1 has')
  h1.resumeMachine()
  await world.pass(HEARTBEAT_MS + 500)
  t.deepEqual(
    h1.users.map(({ state }) => state),
    h1.users.length === 0 ? [] : ['paused'],
  )
  const mountAgain = h1.agent.mount('data', 'another', 2_000).then(
    () => 'mounted',
    (error: { code: string }) => error.code,
  )
  t.is(await world.clock.until(mountAgain), 'VOLUME_HELD_ELSEWHERE')
  await world.pass(10_000)
  t.deepEqual(h1.users, [])
  t.is((await h1.store.copy(id))?.held ?? null, null)
  t.true([...h1.store.aside.values()].includes('one and what only h1 has'))
  t.deepEqual(
    h2.users.map(({ state }) => state),
    ['running'],
  )
})

test('promise 6: a lease that was ended is taken anew only when the containers stand still, and they go on when the hold is confirmed', async (t) => {
  const { world, h1 } = await held()
  const states: string[] = []
  const { updateHost } = world.registry
  world.registry.updateHost = async (record, revision) => {
    if (record.id === 'h1') states.push(h1.users.map(({ state }) => state).join())
    return await updateHost.call(world.registry, record, revision)
  }
  const mine = (await world.registry.hosts()).find(({ value }) => value.id === 'h1') ?? t.fail()
  await world.registry.expireHost(mine.value, mine.revision, 'h3')
  states.length = 0
  await world.pass(6_000)
  // The first one is refused, the second one takes the lease anew.
  t.deepEqual(states.slice(0, 2), ['running', 'paused'])
  t.deepEqual(
    h1.users.map(({ state }) => state),
    ['running'],
  )
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('a hold that the record says is over is given up, whatever this host was told of its lease', async (t) => {
  const { world, h1, id } = await held()
  const { value, revision } = (await world.registry.volume('data')) ?? t.fail()
  const holder = { host: 'h2', incarnation: 'x', since: '' }
  await world.registry.updateVolume({ ...value, epoch: value.epoch + 1, holder }, revision)
  await world.pass(15_000)
  t.deepEqual(h1.users, [])
  t.is((await h1.store.copy(id))?.held ?? null, null)
})
