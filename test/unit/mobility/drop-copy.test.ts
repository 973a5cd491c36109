import test from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

/** Two hosts have a copy of an idle volume; the copy of the second one is changed at rest by somebody. */
async function changed(): Promise<{ readonly world: World; readonly id: string }> {
  const world = await World.start(2)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(1, 'data', 'one')
  await world.pass(60_000)
  const { id } = await world.record('data')
  world.host(2).store.trees.set(id, 'changed')
  return { world, id }
}

test('promise 7: a copy is not dropped while one that was changed at rest is counted on', async (t) => {
  const { world, id } = await changed()
  const [h1, h2] = [world.host(1), world.host(2)]
  const left: (string | undefined)[] = []
  const trash = h1.store.trash.bind(h1.store)
  h1.store.trash = async (volume) => {
    left.push(h2.store.trees.get(id))
    await trash(volume)
  }
  await world.clock.until(h1.agent.drain(true))
  await world.pass(300_000)
  // It is repaired from here, and counted on then.
  t.deepEqual(left, ['one'])
})

test('a copy is not dropped while a host that is counted on does not say what its copy is', async (t) => {
  const { world, id } = await changed()
  const [h1, h2] = [world.host(1), world.host(2)]
  const { answer } = h2.agent
  const busy: typeof answer = (question, ...rest) =>
    question.kind === 'compare' ? Promise.reject(new Error('busy')) : answer(question, ...rest)
  h2.agent = { ...h2.agent, answer: busy }
  await world.clock.until(h1.agent.drain(true))
  await world.pass(120_000)
  t.false(h1.store.inTrash.has(id))
  t.is(h1.store.trees.get(id), 'one')
  const { left } = await world.clock.until(h1.agent.drain(true))
  t.regex(left[0]?.why ?? '', /waits until the copies on h2 .*were compared with the newest checkpoint/)
})
