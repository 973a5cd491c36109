import test, { type ExecutionContext } from 'ava'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { type MemoryHost, World } from './world.ts'

const SLOW = [0, 300, 1_000, 5_000] as const

/** Hosts with a copy each of an idle volume. */
async function begin(t: ExecutionContext): Promise<{ world: World; id: string }> {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'zero')
  await world.pass(40_000)
  const { id } = await world.record('data')
  t.is(world.host(1).store.trees.get(id), 'zero')
  return { world, id }
}

/** Mounts; answers what the watchdog guards at the very moment of the answer. */
async function guardedAtMount(world: World, host: MemoryHost, mountId: string): Promise<readonly string[]> {
  const mounting = host.agent.mount('data', mountId, 60_000)
  return await world.clock.until(mounting.then(() => host.guard?.volumes.map(({ id }) => id) ?? []))
}

/** The next look of the heartbeat at the disk has just begun. */
async function atLook(world: World, { store }: MemoryHost): Promise<void> {
  const { copies } = store
  let looking = false
  store.copies = () => {
    looking = true
    return copies.call(store)
  }
  while (!looking) await world.clock.advance(10)
  store.copies = copies
}

for (const slowMs of SLOW) {
  test(`promise 1: a Mount is answered when the watchdog knows of the volume, reading the disk takes ${slowMs} ms`, async (t) => {
    const { world, id } = await begin(t)
    const host = world.host(1)
    host.store.copiesMs = slowMs
    await atLook(world, host)
    t.deepEqual(await guardedAtMount(world, host, 'm'), [id])
    for (let looks = 0; looks < 5; looks++) {
      await world.clock.advance(1_000)
      t.deepEqual(
        host.guard?.volumes.map((volume) => volume.id),
        [id],
        'and goes on to',
      )
    }
  })

  test(`promise 6: a host that is cut off right after a Mount, its agent dead, fences its container; ${slowMs} ms`, async (t) => {
    const { world } = await begin(t)
    const [h1, h2] = [world.host(1), world.host(2)]
    h1.store.copiesMs = slowMs
    await atLook(world, h1)
    await guardedAtMount(world, h1, 'm')
    h1.users = [{ id: 'c1', name: 'db', state: 'running', volumes: ['data'] }]
    h1.connected = false
    h1.kill()
    const taking = h2.agent.mount('data', 'm', 100_000)
    await world.pass(40_000)
    await world.clock.until(taking)
    t.is((await world.record('data')).holder?.host, 'h2')
    t.is(h1.users[0]?.state, 'paused')
  })

  test(`promise 1: the same of a further use, right after the agent was started anew; ${slowMs} ms`, async (t) => {
    const { world, id } = await begin(t)
    const host = world.host(1)
    await guardedAtMount(world, host, 'm')
    host.users = [{ id: 'c1', name: 'db', state: 'running', volumes: ['data'] }]
    await world.pass(2_000)
    host.store.copiesMs = slowMs
    // The plugin's process, too, is a new one that has lost its file.
    host.guard = null
    await host.restart()
    t.deepEqual(await guardedAtMount(world, host, 'm2'), [id])
  })

  test(`a volume that was given up is not guarded any more, ${slowMs} ms`, async (t) => {
    const { world, id } = await begin(t)
    const host = world.host(1)
    host.store.copiesMs = slowMs
    t.deepEqual(await guardedAtMount(world, host, 'm'), [id])
    await world.clock.until(host.agent.unmount('data', 'm'))
    await world.pass(slowMs + 5_000)
    t.is((await world.record('data')).holder, null)
    await world.pass(2_000)
    t.deepEqual(host.guard?.volumes, [])
  })
}

/** h1's container writes; then its agent is killed, and its record cannot be read any more. */
async function loseRecord(t: ExecutionContext) {
  const { world, id } = await begin(t)
  const [h1, h2] = [world.host(1), world.host(2)]
  await guardedAtMount(world, h1, 'm')
  h1.users = [{ id: 'c1', name: 'db', state: 'running', volumes: ['data'] }]
  await world.pass(2_000)
  h1.kill()
  h1.store.unreadable.add(id)
  return { world, id, h1, h2 }
}

test('promise 1: a volume whose record cannot be read when the agent starts stays guarded, until a record says that it is not held', async (t) => {
  const { world, id, h1 } = await loseRecord(t)
  for (let starts = 0; starts < 2; starts++) {
    await h1.restart()
    await world.pass(3_000)
    t.deepEqual(
      h1.guard?.volumes.map((volume) => volume.id),
      [id],
    )
  }
  t.is(h1.users[0]?.state, 'running', 'the lease runs')
  h1.store.unreadable.delete(id)
  await world.pass(2_000)
  await world.clock.until(h1.agent.unmount('data', 'm'))
  h1.users = []
  await world.pass(10_000)
  t.is((await world.record('data')).holder, null)
  t.deepEqual(h1.guard?.volumes, [])
})

test('promise 1: a host that cannot read its record does not run on when it is cut off and another one takes over', async (t) => {
  const { world, h1, h2 } = await loseRecord(t)
  await h1.restart()
  await world.pass(3_000)
  h1.connected = false
  const taking = h2.agent.mount('data', 'm', 100_000)
  await world.pass(40_000)
  await world.clock.until(taking)
  t.is((await world.record('data')).holder?.host, 'h2')
  t.is(h1.users[0]?.state, 'paused')
  h1.connected = true
  await world.pass(20_000)
  t.is(h1.users[0]?.state, 'paused', 'nothing has confirmed its hold')
})

test('promise 1: a host whose machine stood still fences what its disk cannot describe before it takes its lease anew', async (t) => {
  const { world, h1, h2 } = await loseRecord(t)
  await h1.restart()
  await world.pass(3_000)
  h1.stopMachine()
  const taking = h2.agent.mount('data', 'm', 100_000)
  await world.pass(40_000)
  await world.clock.until(taking)
  t.is(h1.users[0]?.state, 'running')
  h1.resumeMachine()
  // The watchdog does not come to look before the agent has its new lease.
  await world.clock.advance(5_000)
  t.is(h1.users[0]?.state, 'paused')
})
