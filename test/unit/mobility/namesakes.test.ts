import test from 'ava'
import type { VolumeView } from '../../../agent/mobility/volume-view.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const created = { kind: 'volume', action: 'create', id: 'data', name: '' } as const

async function namesakes(world: World, host: number): Promise<VolumeView['namesakes']> {
  const view = world.host(host).agent.get('data', new AbortController().signal)
  return (await world.clock.until(view)).namesakes
}

test('promise 2: a local volume with the name of a volume is told of on every host, until it is removed', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  world.host(3).localVolumes.add('other').add('data')
  world.host(3).engineEvent(created)
  await world.clock.advance(3_000)
  for (const host of [1, 2, 3]) t.deepEqual(await namesakes(world, host), ['h3'], `on h${host}`)
  world.host(3).localVolumes.delete('data')
  world.host(3).engineEvent({ ...created, action: 'destroy' })
  await world.clock.advance(3_000)
  for (const host of [1, 2, 3]) t.deepEqual(await namesakes(world, host), [], `on h${host}`)
})

test('a local volume that was there first is found when a volume of its name is created', async (t) => {
  const world = await World.start(2)
  world.host(2).localVolumes.add('data')
  await world.clock.advance(65_000)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.advance(3_000)
  t.deepEqual(await namesakes(world, 1), ['h2'])
})

test('a local volume whose event was lost is found within a minute', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.advance(5_000)
  world.host(2).localVolumes.add('data')
  await world.clock.advance(62_000)
  t.deepEqual(await namesakes(world, 1), ['h2'])
})

test('a local volume that is created just after a look is found by the next one', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.advance(5_000)
  world.host(2).engineEvent(created)
  await world.clock.advance(300)
  world.host(2).localVolumes.add('data')
  world.host(2).engineEvent(created)
  await world.clock.advance(3_000)
  t.deepEqual(await namesakes(world, 1), ['h2'])
})

test('a local volume is told of at once when the agent starts', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  world.host(2).localVolumes.add('data')
  world.host(2).kill()
  await world.host(2).restart()
  await world.clock.advance(2_000)
  t.deepEqual(await namesakes(world, 1), ['h2'])
})

test('an engine with thousands of local volumes and a registry that is away hold nothing up', async (t) => {
  const world = await World.start(2)
  for (let n = 0; n < 5_000; n++) world.host(2).localVolumes.add(`v${n}`)
  for (let n = 0; n < 150; n++) await world.host(1).agent.create(`v${n}`, DEFAULT_OPTIONS)
  world.host(2).engineEvent(created)
  await world.clock.advance(3_000)
  const { namesakes: told } = (await world.registry.hosts()).find(({ value }) => value.id === 'h2')?.value ?? {}
  t.is(told?.length, 100)
  world.registry.away = true
  world.host(2).engineEvent(created)
  await world.clock.advance(3_000)
  world.registry.away = false
  await world.clock.advance(3_000)
  t.true((await world.registry.hosts()).some(({ value }) => value.namesakes.length === 100))
})
