import test from 'ava'
import { codeOf } from '../../../agent/errors.ts'
import { OPTIONS, World } from './world.ts'

const never = new AbortController().signal

/** The registry comes back with nothing, and every renewal that was known is gone with it. */
async function loseRegistry(world: World): Promise<void> {
  for (const { value, revision } of await world.registry.volumes())
    await world.registry.deleteVolume(value.name, revision)
}

test('promises 1 and 2: a volume that only a silent host can have data of is not rebuilt as idle and empty', async (t) => {
  const world = await World.start(4)
  const [holder, other] = [world.host(1), world.host(2)]
  await holder.agent.create('data', { ...OPTIONS, copies: 2 })
  await world.clock.until(holder.agent.mount('data', 'm', 100_000))
  holder.users = [{ id: 'c1', name: 'files', state: 'running', volumes: ['data'] }]
  const { id } = await world.record('data')
  holder.store.trees.set(id, 'one')
  // Somebody wants it elsewhere: that host has begun with a copy, and has nothing of it when the holder is cut off.
  world.pullMs = 1_000_000
  const waiting = world.host(3).agent.mount('data', 'm3', 5_000)
  await t.throwsAsync(world.clock.until(waiting))
  t.truthy(await world.host(3).store.create({ id, name: 'data', options: OPTIONS }))
  holder.connected = false
  await world.pass(30_000)
  const kept = await world.clock.until(other.agent.recover(never))
  t.deepEqual([kept.written, kept.kept, kept.problems.length], [[], ['data'], 1], 'a record that stands is no problem')
  await loseRegistry(world)
  const { written, problems } = await world.clock.until(other.agent.recover(never))
  t.deepEqual(written, [])
  t.regex(problems.join('\n'), /"data": no host that answered has a usable checkpoint .*\(known on h3\)/)
  const refused = await t.throwsAsync(world.clock.until(other.agent.mount('data', 'm2', 5_000)))
  t.is(codeOf(refused), 'VOLUME_NOT_FOUND')
  // No other host could take it over: it runs on.
  t.is(holder.users[0]?.state, 'running')
  holder.connected = true
  await world.pass(5_000)
  t.deepEqual((await world.clock.until(other.agent.recover(never))).written, ['data'])
  t.like(await world.record('data'), { epoch: 1, holder: { host: 'h1' } })
})
