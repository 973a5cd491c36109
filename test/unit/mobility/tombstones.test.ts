import test from 'ava'
import type { RemovedRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { World } from './world.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const FORCE = { force: true, acceptLoss: false }

/** Three hosts; h1 and h2 have a copy. `used`: a container on h1 runs with it. */
async function ground(used: boolean) {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', OPTIONS)
  await world.use(2, 'data', 'precious')
  await world.use(1, 'data', 'precious')
  await world.pass(10_000)
  const { id } = await world.record('data')
  if (used) {
    await world.clock.until(h1.agent.mount('data', 'm', 100_000))
    h1.users = [{ id: 'c', name: 'db', state: 'running', volumes: ['data'] }]
    await world.pass(10_000)
  }
  const bury = async (lost?: string[]): Promise<void> => {
    const tombstone: RemovedRecord = { id, name: 'data', removedAt: 'now', hosts: ['h1', 'h2'], lost }
    const { outcome } = await world.registry.addRemoved(tombstone)
    if (outcome !== 'done') throw new Error(outcome)
    await world.pass(20_000)
  }
  return { world, id, h1, h2, bury }
}

/** Deletes the record, as an attacker may who can write the registry. */
async function loseRecord(world: World): Promise<void> {
  const entry = await world.registry.volume('data')
  if (entry !== null) await world.registry.deleteVolume('data', entry.revision)
}

for (const used of [false, true]) {
  test(`promise 7: a tombstone of a volume that its record says exists is refused, ${used ? 'in use' : 'idle'}`, async (t) => {
    const { world, id, h1, h2, bury } = await ground(used)
    await bury(used ? ['h1'] : undefined)
    t.is(h1.store.trees.get(id), 'precious')
    t.is(h2.store.trees.get(id), 'precious')
    t.is(h1.users.length, used ? 1 : 0)
    t.deepEqual([...h1.store.inTrash, ...h2.store.inTrash], [])
    t.is(h1.store.setAsideTrees.size, 0)
    for (const { agent } of [h1, h2]) {
      const { notes } = await agent.health()
      t.regex(notes.join('\n'), /tombstone says that volume "data" .* its record says that it exists: this host keeps/)
      const { copies } = await agent.get('data', new AbortController().signal)
      t.true(copies.some(({ why }) => why?.includes('a tombstone says') === true))
    }
    // It is no reason against the removal of the volume itself.
    h1.users = []
    if (used) await h1.agent.unmount('data', 'm')
    await world.pass(3_000)
    await world.clock.until(h2.agent.remove('data'))
    await world.pass(5_000)
    t.is(await h1.store.copy(id), null)
    t.is(await h2.store.copy(id), null)
    // The tombstone that stood there already says that h1 was given up.
    t.is(h1.store.setAsideTrees.has(id), used)
    t.false((await h1.agent.health()).notes.some((note) => note.includes('tombstone')))
  })
}

test('a tombstone of a volume that exists does not end the copy that a Mount waits for', async (t) => {
  const { world, id } = await ground(false)
  const { agent, store } = world.host(3)
  const receive = store.receive.bind(store)
  store.receive = async (...args) => {
    await world.clock.sleep(3_000, new AbortController().signal)
    return await receive(...args)
  }
  const mounting = agent.mount('data', 'm', 60_000)
  await world.pass(1_000)
  t.is(await store.copy(id), null, 'nothing of it has come yet')
  await world.registry.addRemoved({ id, name: 'another name', removedAt: 'now', hosts: ['h3'] })
  await world.clock.until(mounting)
  t.is(store.trees.get(id), 'precious')
})

test('a hold that is intended while a tombstone waits for the lock is not ended by it', async (t) => {
  const world = await World.start(1)
  const { agent, store } = world.host(1)
  await agent.create('data', OPTIONS)
  const { id } = await world.record('data')
  store.updateMs = 2_000
  const mounting = agent.mount('data', 'm', 5_000).catch(() => null)
  await world.pass(300)
  t.is(await store.copy(id), null)
  await world.registry.addRemoved({ id, name: 'data', removedAt: 'now', hosts: ['h1'] })
  await world.pass(1_000)
  world.host(1).connected = false
  await world.clock.until(mounting)
  await world.pass(2_000)
  t.not(await store.copy(id), null)
  t.deepEqual([...store.inTrash], [])
})

test('promise 7: a hold that is confirmed and in use outlives a tombstone although the record is gone', async (t) => {
  const { world, id, h1, h2, bury } = await ground(true)
  await loseRecord(world)
  await bury()
  t.is(h1.store.trees.get(id), 'precious')
  t.is(h1.users.length, 1)
  t.regex((await h1.agent.health()).notes.join('\n'), /but this host holds it, and it is in use here: this host keeps/)
  t.true(h2.store.inTrash.has(id), 'nothing contradicts it there')
  // Its container ends: nobody has seen the mark of a removal, so nothing goes to the trash.
  h1.users = []
  await h1.agent.unmount('data', 'm')
  await world.pass(10_000)
  t.is(h1.store.setAsideTrees.get(id), 'precious')
  t.false(h1.store.inTrash.has(id))
})

test('removal by force reaches a holder that is in use: it has read the mark', async (t) => {
  const { world, id, h1, h2 } = await ground(true)
  await world.clock.until(h2.agent.removeWith('data', FORCE, new AbortController().signal))
  await world.pass(10_000)
  t.deepEqual(h1.users, [])
  t.true(h1.store.inTrash.has(id))
  t.true(h2.store.inTrash.has(id))
  t.is(await world.registry.volume('data'), null)
  t.deepEqual((await h1.agent.health()).notes, [])
})
