import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

test('promise 5: a container that restarts while the registry is away is covered again, and the age is never too young', async (t) => {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'zero')
  const user = { id: 'c1', name: 'files', state: 'running', volumes: ['data'] }
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'one')
  h1.users = [user]
  await world.pass(60_000)
  t.is(h2.store.trees.get(id), 'one')
  world.registry.away = true
  await world.pass(10_000)
  const uploadMs = world.clock.elapsedMs()
  h1.store.trees.set(id, 'one and an upload')
  // The release looks at the tree, and gets no further.
  h1.users = []
  await h1.agent.unmount('data', 'm')
  await world.pass(300)
  const mounting = h1.agent.mount('data', 'm', 100_000)
  await world.pass(15_000)
  await world.clock.until(mounting)
  h1.users = [user]
  await world.pass(5_000)
  const shown = async () => (await world.clock.until(h1.agent.get('data', AbortSignal.abort()))).elsewhere?.ageSeconds
  const trueAge = () => (h2.store.trees.get(id) === 'one' ? (world.clock.elapsedMs() - uploadMs) / 1_000 : 0)
  world.registry.away = false
  for (let seconds = 0; seconds < 60; seconds += 5) {
    await world.pass(5_000)
    t.true(
      ((await shown()) ?? 0) >= trueAge() - 1,
      `${seconds} s: ${await shown()} s are shown, ${trueAge()} s are true`,
    )
  }
  t.is(h2.store.trees.get(id), 'one and an upload')
})
