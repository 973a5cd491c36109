import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, copies: 1 }
const DEADLINE_MS = 100_000
const ODD = new WherryError('TREE_UNSUPPORTED', '"dir" in volume data is a mount, which Wherry cannot move.')
const user = (id: string) => ({ id, name: id, state: 'running', volumes: ['data'] })
const signal = new AbortController().signal

/** Containers with the volume that run, over all hosts. */
function running(world: World): number {
  return world.hosts.flatMap(({ users }) => users.filter(({ state }) => state === 'running')).length
}

/** A Mount whose answer nobody waits for; its container starts when it succeeds. */
function startOn(world: World, n: number): void {
  const host = world.host(n)
  host.agent.mount('data', `m${n}`, DEADLINE_MS).then(
    () => {
      host.users = [user(`c${n}`)]
    },
    () => undefined,
  )
}

test('promise 1: a tree that came for a Mount while another host took the volume is not gone on from behind its back', async (t) => {
  const world = await World.start(3)
  const h1 = world.host(1)
  await h1.agent.create('data', OPTIONS)
  await world.use(1, 'data', 'one')
  await world.pass(5_000)
  world.pullMs = 10_000
  startOn(world, 2)
  await world.pass(2_000)
  startOn(world, 1)
  await world.pass(2_000)
  t.is((await world.record('data')).holder?.host, 'h1')
  await h1.restart()
  await world.pass(20_000)
  h1.connected = false
  await world.pass(60_000)
  t.is(running(world), 1)
})

test('promise 1: a tree that came for a promotion that failed is not gone on from while its holder uses the volume again', async (t) => {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(1, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', DEADLINE_MS))
  const { id } = await world.record('data')
  h1.store.trees.set(id, 'one')
  // The tree can be read, and cannot be written down as a checkpoint.
  h1.store.capture = () => Promise.reject(ODD)
  await h1.agent.unmount('data', 'm')
  await world.pass(2_000)
  world.pullMs = 3_000
  void h2.agent.promote('data', false, signal).catch(() => undefined)
  await world.pass(1_000)
  startOn(world, 1)
  await world.pass(40_000)
  t.is(h2.store.trees.get(id), 'one')
  t.is((await world.record('data')).holder?.host, 'h1')
  h1.connected = false
  startOn(world, 2)
  await world.pass(60_000)
  t.is(running(world), 1)
})
