import test from 'ava'
import { codeOf, WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const ODD = new WherryError('TREE_UNSUPPORTED', '"dir" in volume data is a mount, which Wherry cannot move.')
const gone = new AbortController().signal

/** Lets watchdogs and clocks go on until a call has ended; its error, or null. */
async function errorOf(world: World, call: Promise<unknown>): Promise<Error | null> {
  let ended: { readonly error: Error | null } | null = null
  call.then(
    () => {
      ended = { error: null }
    },
    (error: Error) => {
      ended = { error }
    },
  )
  for (let turns = 0; ended === null && turns < 1_000; turns++) await world.pass(100)
  if (ended === null) throw new Error('no answer')
  return (ended as { error: Error | null }).error
}

/**
 * A container of the first host has written, and ends; the tree cannot be captured any more. The newest checkpoint is
 * on that host alone; the second host has the one before.
 */
async function leave(world: World): Promise<{ readonly id: string; readonly takeIn: () => void }> {
  const [h1, ...others] = [world.host(1), world.host(2), world.host(3)]
  await h1.agent.create('data', OPTIONS)
  await world.use(2, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  h1.users = [{ id: 'c1', name: 'db', state: 'running', volumes: ['data'] }]
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'one')
  await world.pass(30_000)
  for (const { store } of others) store.stageError = new WherryError('DISK_FULL', 'No space.')
  h1.store.trees.set(id, 'one two')
  await world.pass(15_000)
  h1.store.captureError = ODD
  h1.store.trees.set(id, 'one two three')
  h1.users = []
  await h1.agent.unmount('data', 'm').catch(() => undefined)
  await world.pass(3_000)
  const takeIn = () => {
    for (const { store } of others) store.stageError = null
  }
  return { id, takeIn }
}

test('promise 2: a checkpoint that only the holder has comes here before the volume is gone on from it', async (t) => {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  const { id, takeIn } = await leave(world)
  t.is((await h1.store.copy(id))?.checkpoint?.hash, 'hash of one two')
  takeIn()
  t.is(await errorOf(world, h2.agent.promote('data', true, gone)), null)
  t.is((await h2.store.copy(id))?.checkpoint?.hash, 'hash of one two')
  await world.pass(60_000)
  t.deepEqual([...h1.store.aside.values()], ['one two three'])
  t.is(await errorOf(world, h2.agent.mount('data', 'm2', 100_000)), null)
  t.is(h2.store.trees.get(id), 'one two')
})

test('promise 2: a checkpoint that the holder cannot send is not gone on from, the one of another host is', async (t) => {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  const { id, takeIn } = await leave(world)
  takeIn()
  h1.store.spooled.delete(id)
  t.is(await errorOf(world, h2.agent.promote('data', true, gone)), null)
  await world.pass(60_000)
  t.deepEqual([...h1.store.aside.values()], ['one two three'])
  t.is(await errorOf(world, h2.agent.mount('data', 'm2', 100_000)), null)
  t.is(h2.store.trees.get(id), 'one')
})

test('promise 2: promote is refused when only the holder has a checkpoint, and cannot send it', async (t) => {
  const world = await World.start(2)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...OPTIONS, copies: 1 })
  await world.use(1, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'one')
  h1.store.captureError = ODD
  await h1.agent.unmount('data', 'm').catch(() => undefined)
  await world.pass(3_000)
  const refused = await errorOf(world, h2.agent.promote('data', true, gone))
  t.is(codeOf(refused), 'FAILOVER_REFUSED')
  t.regex(refused?.message ?? '', /cannot be sent.*h1 \(h1\): holds it, checkpoint 1\.1/)
  t.is((await world.record('data')).holder?.host, 'h1')
  h1.store.captureError = null
  await world.pass(60_000)
  t.is(await errorOf(world, h2.agent.mount('data', 'm2', 100_000)), null)
  t.is(h2.store.trees.get(id), 'one')
})
