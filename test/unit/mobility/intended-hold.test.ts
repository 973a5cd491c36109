import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { World } from './world.ts'

const OPTIONS = { ...DEFAULT_OPTIONS, copies: 2 }
const DB = [{ id: 'c1', name: 'db', state: 'running', volumes: ['data'] }]

/** On h2 the first Mount of a new volume ends between the intention on its disk and the write that makes it so. */
async function intendOnly(how: 'killed' | 'cut off') {
  const world = await World.start(3)
  const host = world.host(2)
  await world.host(1).agent.create('data', OPTIONS)
  world.registry.beforeWrite = (record) => {
    if (record.holder?.host !== 'h2') return
    if (how === 'killed') host.kill()
    host.connected = false
    throw new Error('it does not arrive')
  }
  await world.clock.until(host.agent.mount('data', 'm', 10_000)).catch(() => undefined)
  world.registry.beforeWrite = () => undefined
  host.connected = true
  if (how === 'killed') await host.restart()
  await world.pass(5_000)
  const { id } = await world.record('data')
  return { world, host, id }
}

/** What releases before this one left on a disk in that case. */
async function forge(world: World, n: number, id: string, more: Partial<LocalCopy> = {}) {
  const { store } = world.host(n)
  await store.create({ id, name: 'data', options: OPTIONS })
  const checkpoint = { epoch: 1, seq: 1, hash: hashOf(''), at: world.clock.now().toISOString(), bytes: 0, files: 0 }
  await store.update(id, { checkpoint, ...more })
}

for (const how of ['killed', 'cut off'] as const) {
  test(`promise 14: a first hold that never reached the registry leaves no checkpoint (its host was ${how})`, async (t) => {
    const { world, host, id } = await intendOnly(how)
    const local = await host.store.copy(id)
    t.is(local?.checkpoint ?? null, null)
    t.is(local?.held ?? null, null)
    t.is(host.store.captures, 0)
    t.is((await world.record('data')).epoch, 0)
  })
}

test('promise 14: a hold that never reached the registry puts nothing aside when the volume has gone on elsewhere since', async (t) => {
  const { world, host, id } = await intendOnly('killed')
  await host.store.update(id, { held: { epoch: 1, incarnation: 'never arrived' } })
  await world.use(1, 'data', 'precious')
  await world.pass(10_000)
  const local = await host.store.copy(id)
  t.is(local?.held ?? null, null)
  t.deepEqual(local?.diverged ?? [], [])
  t.is(host.store.aside.size, 0)
})

test('a hold that came about and that the registry has lost keeps what was written under it', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', OPTIONS)
  const { value: before } = (await world.registry.volume('data')) ?? t.fail()
  await world.clock.until(host.agent.mount('data', 'm', 10_000))
  const { value, revision } = (await world.registry.volume('data')) ?? t.fail()
  host.store.trees.set(value.id, 'precious')
  host.kill()
  await world.registry.updateVolume(before, revision)
  await host.restart()
  await world.pass(10_000)
  const mounting = host.agent.mount('data', 'm2', 2_000).then(
    () => null,
    (error: { code: string }) => error.code,
  )
  t.is(await world.clock.until(mounting), 'COPY_DAMAGED')
  t.is(host.store.trees.get(value.id), 'precious')
  const local = await host.store.copy(value.id)
  t.true(local?.held !== null || local?.checkpoint?.hash === hashOf('precious'), JSON.stringify(local))
})

test('promise 5: a volume in use gets its second copy also where an older release left the checkpoint of an empty tree', async (t) => {
  for (const more of [{}, { epochSeen: 1 }]) {
    const world = await World.start(3)
    await world.host(1).agent.create('data', OPTIONS)
    const { id } = await world.record('data')
    await forge(world, 2, id, more)
    await world.clock.until(world.host(1).agent.mount('data', 'm', 10_000))
    world.host(1).store.trees.set(id, 'precious')
    world.host(1).users = [...DB]
    await world.pass(120_000)
    const { copies, last } = await world.record('data')
    t.is(last?.hash, hashOf('precious'))
    const others = Object.entries(copies).filter(([host, { state }]) => host !== 'h1' && state === 'current')
    t.is(others.length, 1, JSON.stringify(copies))
  }
})

test('promise 14: an empty tree that an older release called 1.1 is never gone on from in place of the real 1.1', async (t) => {
  for (const more of [{}, { epochSeen: 1 }]) {
    const world = await World.start(3)
    const [h1, h2] = [world.host(1), world.host(2)]
    await h1.agent.create('data', OPTIONS)
    const { id } = await world.record('data')
    await world.use(1, 'data', 'precious')
    h1.connected = false
    await forge(world, 2, id, more)
    // The record as the older release has written it.
    const { value, revision } = (await world.registry.volume('data')) ?? t.fail()
    const forged = { epoch: 1, seq: 1, state: 'current' as const, at: '', kept: true }
    await world.registry.updateVolume({ ...value, copies: { ...value.copies, h2: forged } }, revision)
    await world.pass(20_000)
    const promoting = h2.agent.promote('data', false, new AbortController().signal).then(
      () => 'promoted',
      (error: { code: string }) => error.code,
    )
    t.is(await world.clock.until(promoting), 'FAILOVER_REFUSED')
    t.is((await world.record('data')).last?.hash, hashOf('precious'))
    h1.connected = true
    await world.pass(60_000)
    t.is(h1.store.trees.get(id), 'precious')
    t.is(h2.store.trees.get(id), 'precious', 'and its host has caught up')
    t.is(h2.store.aside.size, 0, 'an empty tree is nothing to keep')
  }
})

test('promise 7: a tree with the name of the newest checkpoint and other content is put aside, not overwritten', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', OPTIONS)
  const { id } = await world.record('data')
  await world.use(1, 'data', 'precious')
  const { store } = world.host(3)
  await store.create({ id, name: 'data', options: OPTIONS })
  store.trees.set(id, 'something else')
  const last = (await world.record('data')).last ?? t.fail()
  const checkpoint = { ...last, hash: hashOf('something else'), bytes: 14, files: 1 }
  await store.update(id, { checkpoint, epochSeen: 1 })
  await world.pass(60_000)
  t.deepEqual([...store.aside.values()], ['something else'])
})

test('promise 7: a hold that is confirmed has its epoch on the disk, also where an agent died before it wrote that down', async (t) => {
  const world = await World.start(2)
  const host = world.host(1)
  await host.agent.create('data', OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', 10_000))
  const { id } = await world.record('data')
  host.users = [...DB]
  host.kill()
  const { held } = (await host.store.copy(id)) ?? t.fail()
  await host.store.update(id, { epochSeen: (held?.epoch ?? 0) - 1 })
  await host.restart()
  await world.pass(5_000)
  const after = (await host.store.copy(id)) ?? t.fail()
  t.deepEqual(after.held, held)
  t.is(after.epochSeen, held?.epoch ?? 0)
})

test('promise 1: an empty tree of an older release is not gone on from while its holder may write on, whatever is accepted', async (t) => {
  const world = await World.start(3)
  const [h1, h2] = [world.host(1), world.host(2)]
  await h1.agent.create('data', { ...OPTIONS, copies: 1 })
  const { id } = await world.record('data')
  await forge(world, 2, id, { epochSeen: 1 })
  await world.clock.until(h1.agent.mount('data', 'm', 10_000))
  h1.users = [...DB]
  // Its holder knows of no copy that it could be taken over with, and is not fenced.
  const { value, revision } = (await world.registry.volume('data')) ?? t.fail()
  const begun = { epoch: 0, seq: 0, state: 'filling' as const, at: '', kept: true }
  h1.connected = false
  await world.registry.updateVolume({ ...value, copies: { ...value.copies, h2: begun } }, revision)
  await world.pass(20_000)
  const promoting = world.clock.until(h2.agent.promote('data', true, new AbortController().signal))
  await t.throwsAsync(promoting, { code: 'FAILOVER_REFUSED' })
  t.is((await world.record('data')).holder?.host, 'h1')
})

test('promise 10: a Mount whose volume is made anew meanwhile mounts the new one, and drops its intent', async (t) => {
  const world = await World.start(2)
  const host = world.host(2)
  await world.host(1).agent.create('data', OPTIONS)
  const { value: before, revision } = (await world.registry.volume('data')) ?? t.fail()
  const after = { ...before, id: '01JZZZZZZZZZZZZZZZZZZZZZZZ' }
  world.registry.beforeWrite = ({ holder }) => {
    if (holder?.host !== 'h2') return
    world.registry.beforeWrite = () => undefined
    void world.registry.updateVolume(after, revision)
  }
  const { mountpoint } = await world.clock.until(host.agent.mount('data', 'm', 10_000))
  t.regex(mountpoint, new RegExp(after.id))
  t.is((await world.record('data')).holder?.host, 'h2')
  t.is((await host.store.copy(before.id))?.held ?? null, null)
})

test('promise 10: a Mount of a hold that was given up for a removal does not call the registry lossy', async (t) => {
  const world = await World.start(2)
  const host = world.host(2)
  await host.agent.create('data', OPTIONS)
  await world.clock.until(host.agent.mount('data', 'm', 10_000))
  const { value: before, revision } = (await world.registry.volume('data')) ?? t.fail()
  // The volume stays held without a use.
  host.store.capture = () => Promise.reject(new WherryError('VOLUME_BUSY', 'process 7 (sh) can write'))
  await host.agent.unmount('data', 'm')
  await world.clock.advance(1_000)
  const hold = { volume: before.id, epoch: before.epoch, incarnation: before.holder?.incarnation ?? '' }
  const asked = { kind: 'surrender', ...hold, want: 'removal' } as const
  const reply = host.agent.answer(asked, peerAt('h1'), new AbortController().signal)
  t.like(await world.clock.until(reply), { outcome: 'given-up' })
  const after = { ...before, id: '01JZZZZZZZZZZZZZZZZZZZZZZZ', epoch: 0, holder: null, last: null, copies: {} }
  let swaps = 0
  world.registry.beforeWrite = ({ id }) => {
    if (id !== before.id || swaps++ > 0) return
    void world.registry.addRemoved({ id, name: 'data', removedAt: world.clock.now().toISOString(), hosts: ['h2'] })
    void world.registry.updateVolume(after, revision)
  }
  const { mountpoint } = await world.clock.until(host.agent.mount('data', 'm2', 2_000))
  t.is(swaps, 1)
  t.is(mountpoint, host.store.mountpoint(after.id))
})
