import test from 'ava'
import { mergeRecord } from '../../../agent/mobility/recovery/merge-record.ts'
import { planVolume } from '../../../agent/mobility/recovery/plan.ts'
import type { Checkpoint, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import type { LocalCopy } from '../../../agent/store/contract.ts'
import { bareCopy } from '../../../agent/store/disk/new-copy.ts'
import { World } from './world.ts'

const NOW = new Date('2026-01-02T03:04:05.678Z')
const ALL = { someSilent: false, now: NOW, by: 'me' }

function point(epoch: number, seq: number, hash = `h${epoch}.${seq}`): Checkpoint {
  return { epoch, seq, hash, at: '', bytes: 1, files: 1 }
}

function onDisk(more: Partial<LocalCopy>): LocalCopy {
  return { ...bareCopy({ id: '01ARZ3NDEKTSV4RRFFQ69G5FAV', name: 'data', options: DEFAULT_OPTIONS }), ...more }
}

function plan(copies: Record<string, Partial<LocalCopy>>, how = ALL) {
  const found = Object.entries(copies).map(([host, more]) => ({
    host,
    copy: onDisk(more),
    proven: host === 'sure',
    guarded: host !== 'unaware',
  }))
  return planVolume('data', found, how)
}

function good(copies: Record<string, Partial<LocalCopy>>, how = ALL) {
  const found = plan(copies, how)
  if (typeof found === 'string') throw new Error(found)
  return found
}

/** Everything the registry knew is gone. */
async function loseRegistry(world: World): Promise<void> {
  for (const { value, revision } of await world.registry.volumes())
    await world.registry.deleteVolume(value.name, revision)
}

test('promise 2: a volume of which only a damaged copy has data is not recovered as one without data', (t) => {
  const damaged = { checkpoint: point(1, 1), epochSeen: 1, damaged: ['file'] }
  const { last, copies } = good({ a: damaged, b: { epochSeen: 1 } })
  t.deepEqual(last, point(1, 1))
  t.like(copies, { a: { state: 'behind' }, b: { state: 'filling' } })
  t.like(good({ a: { ...damaged, checkpoint: point(1, 2) }, b: { checkpoint: point(1, 1), epochSeen: 1 } }), {
    last: point(1, 1),
  })
})

const never = new AbortController().signal

test('an idle volume goes on at the newest whole checkpoint, above every epoch that any disk has seen', (t) => {
  const found = good({
    a: { checkpoint: point(3, 4), epochSeen: 3 },
    b: { checkpoint: point(4, 6), epochSeen: 4 },
    c: { checkpoint: point(5, 7), epochSeen: 5, damaged: ['x'] },
    d: { checkpoint: null, epochSeen: 0 },
  })
  t.like(found, { epoch: 5, holder: null, last: point(4, 6), createdAt: '2016-07-30T23:54:10.259Z' })
  t.deepEqual(
    Object.entries(found.copies).map(([host, { state, seq }]) => [host, state, seq]),
    [
      ['a', 'behind', 4],
      ['b', 'current', 6],
      ['c', 'behind', 7],
      ['d', 'filling', 0],
    ],
  )
})

test('the holder is who holds in the highest epoch; its own checkpoint is the newest of its line', (t) => {
  const found = good({
    a: { checkpoint: point(5, 9), epochSeen: 5, held: { epoch: 5, incarnation: 'old' } },
    b: { checkpoint: point(5, 8), epochSeen: 6, held: { epoch: 6, incarnation: 'now' } },
    c: { checkpoint: point(5, 8), epochSeen: 6 },
  })
  t.like(found, { epoch: 6, holder: { host: 'b', incarnation: 'now' }, last: point(5, 8) })
  t.is(found.copies.a?.state, 'behind')
  t.is(found.copies.c?.state, 'current')
})

test("a hold that its host cannot be certain of is nobody's as long as a host is silent that may have taken it over", (t) => {
  const held = { checkpoint: point(5, 9), epochSeen: 5, held: { epoch: 5, incarnation: 'old' } }
  const someSilent = { ...ALL, someSilent: true }
  const doubtful = plan({ unsure: held, other: { checkpoint: point(5, 8), epochSeen: 5 } }, someSilent)
  t.regex(`${doubtful}`, /host unsure holds it by its own disk, but cannot be certain/)
  t.is(good({ sure: held }, someSilent).holder?.host, 'sure')
  t.is(good({ unsure: held }).holder?.host, 'unsure')
})

test('a hold that was only intended is none, and its epoch is not used again by chance', (t) => {
  const found = good({
    a: { checkpoint: point(5, 8), epochSeen: 5, held: { epoch: 6, incarnation: 'intended' } },
    b: { checkpoint: point(5, 8), epochSeen: 5 },
  })
  t.like(found, { epoch: 6, holder: null, last: point(5, 8) })
})

test('with hosts silent, an idle volume begins above what they can have counted on to', (t) => {
  const copies = { a: { checkpoint: point(5, 8), epochSeen: 5 } }
  t.true(good(copies, { ...ALL, someSilent: true }).epoch > 5 + 100)
  t.is(good(copies).epoch, 5)
})

test('promise 7: what a host that was silent for a recovery has above the checkpoint that was found is no part of the volume, and stays', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(2, 'data', 'one')
  await world.clock.advance(60_000)
  // The holder writes, takes a checkpoint that no other host gets, and is lost.
  const holder = world.host(1)
  await world.clock.until(holder.agent.mount('data', 'm', 10_000))
  const { id, last } = await world.record('data')
  holder.connected = false
  holder.store.trees.set(id, 'one two')
  await world.clock.advance(20_000)
  const seq = (last?.seq ?? 0) + 1
  await holder.store.update(id, { checkpoint: { ...point(2, seq, 'hash of one two'), at: NOW.toISOString() } })
  await loseRegistry(world)
  t.deepEqual((await world.host(2).agent.recover(never)).written, ['data'])
  await world.use(2, 'data', 'three')
  holder.connected = true
  await world.clock.advance(60_000)
  t.deepEqual([...holder.store.aside.values()], ['one two'])
})

test('an empty tree that an older release gave the name of a checkpoint is no data beside that checkpoint', (t) => {
  const empty = { checkpoint: { ...point(1, 1, 'empty'), bytes: 0, files: 0 }, epochSeen: 1 }
  const real = { checkpoint: point(1, 1), epochSeen: 1 }
  for (const found of [
    { a: empty, b: real },
    { a: real, b: empty },
  ])
    t.like(plan(found), { last: { hash: real.checkpoint.hash } })
})

test('what disks contradict each other in is for a person', (t) => {
  t.regex(String(plan({ a: {}, b: { id: 'OTHER' } })), /different volumes of that name/)
  const held = (incarnation: string) => ({ epochSeen: 5, held: { epoch: 5, incarnation } })
  t.regex(String(plan({ a: held('x'), b: held('y') })), /hosts a and b both say that they hold it in epoch 5/)
  const twice = { a: { checkpoint: point(5, 8), epochSeen: 5 }, b: { checkpoint: point(5, 8, 'other'), epochSeen: 5 } }
  t.regex(String(plan(twice)), /different data under the same checkpoint 5\.8/)
})

test('a record that is not below the disks is left alone; no epoch and no checkpoint is ever lowered', (t) => {
  const found = good({ a: { checkpoint: point(5, 8), epochSeen: 5 } })
  const record: VolumeRecord = {
    ...{ id: found.id, name: 'data', options: DEFAULT_OPTIONS, createdAt: 'then', seizures: [], removedAt: null },
    ...{ epoch: 5, holder: null, last: point(5, 8) },
    copies: { b: { epoch: 5, seq: 9, state: 'current', at: '', kept: true } },
  }
  t.is(mergeRecord(record, found), 'kept')
  t.is(mergeRecord({ ...record, epoch: 9 }, found), 'kept')
  t.is(mergeRecord({ ...record, epoch: 4, removedAt: 'now' }, found), 'kept')
  t.regex(String(mergeRecord({ ...record, id: 'OTHER' }, found)), /docker volume rm data/)
  const next = mergeRecord({ ...record, epoch: 4, last: point(5, 9) }, found)
  t.like(next, { epoch: 5, last: point(5, 9), createdAt: 'then' })
  t.like((next as VolumeRecord).copies, { a: { state: 'behind' }, b: { state: 'behind', seq: 9 } })
})

test('promise 1: while the holder does not guard the volume, its record names no copy that could take over', (t) => {
  const hold = { checkpoint: point(5, 8), epochSeen: 5, held: { epoch: 5, incarnation: 'i' } }
  const others = { b: { checkpoint: point(5, 8), epochSeen: 5 }, c: { checkpoint: point(4, 1), epochSeen: 4 } }
  const found = good({ unaware: hold, ...others })
  t.like(found.copies, {
    unaware: { state: 'current', seq: 8 },
    b: { state: 'filling', seq: 0, kept: true },
    c: { state: 'filling', seq: 0, kept: true },
  })
  t.is(found.copies.b?.checkpoint, undefined)
  const record: VolumeRecord = {
    ...{ id: found.id, name: 'data', options: DEFAULT_OPTIONS, createdAt: 'then', seizures: [], removedAt: null },
    ...{ epoch: 4, holder: null, last: point(4, 1) },
    copies: { silent: { epoch: 4, seq: 1, state: 'current', at: '', kept: true } },
  }
  t.like((mergeRecord(record, found) as VolumeRecord).copies, { silent: { state: 'filling', seq: 0 }, b: { seq: 0 } })
  t.is(good({ aware: hold, ...others }).copies.b?.state, 'current')
  const options = { ...DEFAULT_OPTIONS, onIsolation: 'continue' as const }
  t.is(good({ unaware: { ...hold, options }, ...others }).copies.b?.state, 'current', 'nobody takes it over unasked')
})

test('promise 1: a holder with the only copy goes on unguarded when a record is rebuilt; what it does not know of cannot take over', async (t) => {
  const world = await World.start(3)
  const [holder, other] = [world.host(1), world.host(2)]
  await holder.agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.clock.until(holder.agent.mount('data', 'use', 10_000))
  await world.clock.advance(10_000)
  const { id } = await world.record('data')
  t.deepEqual(holder.guard?.volumes, [])
  await other.store.create({ id, name: 'data', options: DEFAULT_OPTIONS })
  await other.store.update(id, { checkpoint: point(1, 1), epochSeen: 1 })
  await loseRegistry(world)
  const view = await world.clock.until(world.host(3).agent.recover(never))
  t.deepEqual(view.written, ['data'])
  t.like(await world.record('data'), { holder: { host: 'h1' }, copies: { h2: { state: 'filling', seq: 0 } } })
})

test('a lost registry is rebuilt from the disks: idle volumes mount with their data, held ones go on', async (t) => {
  const world = await World.start(3)
  for (const name of ['idle', 'held']) await world.host(1).agent.create(name, DEFAULT_OPTIONS)
  await world.use(1, 'idle', 'one')
  await world.clock.until(world.host(2).agent.mount('held', 'm', 10_000))
  await world.clock.advance(60_000)
  const before = { idle: await world.record('idle'), held: await world.record('held') }
  await loseRegistry(world)
  const view = await world.host(3).agent.recover(never)
  t.deepEqual(view, { written: ['held', 'idle'], kept: [], problems: [] })
  const after = await world.record('held')
  t.is(after.holder?.incarnation, before.held.holder?.incarnation)
  t.is(after.epoch, before.held.epoch)
  t.deepEqual((await world.record('idle')).last, before.idle.last)
  t.deepEqual(await world.host(3).agent.recover(never), { written: [], kept: ['held', 'idle'], problems: [] })
  await world.use(3, 'idle', 'one two')
  t.is((await world.record('idle')).last?.hash, 'hash of one two')
  await world.host(2).agent.unmount('held', 'm')
  await world.clock.advance(5_000)
  t.is((await world.record('held')).holder, null)
})

test('promise 2: a volume that the registry has forgotten is not created anew in place of its data', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.use(1, 'data', 'one')
  const { id } = await world.record('data')
  await loseRegistry(world)
  for (const host of [world.host(1), world.host(2)]) {
    const refused = await world.clock.until(t.throwsAsync(host.agent.create('data', DEFAULT_OPTIONS)))
    t.like(refused, { code: 'VOLUME_EXISTS' })
    t.regex(`${refused?.message}`, new RegExp(`Host h1 .*has data of a volume "data" \\(${id}, checkpoint of `))
  }
  world.host(1).connected = false
  await world.clock.advance(20_000)
  await world.clock.until(world.host(2).agent.create('data', DEFAULT_OPTIONS))
  world.host(1).connected = true
  await world.clock.advance(20_000)
  const mount = world.clock.until(t.throwsAsync(world.host(1).agent.mount('data', 'use', 10_000)))
  t.like(await mount, { code: 'VOLUME_EXISTS' }, 'also where it was created while the data could not be seen')
})

test('promise 2: a reply that was missed does not let a volume be made anew in place of its data', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.use(1, 'data', 'one')
  await loseRegistry(world)
  // Both other hosts are asked; as of a machine that stood still meanwhile, both replies are missed.
  let missed = 0
  world.losesReply = ({ kind }) => kind === 'inventory' && missed++ < 2
  await t.throwsAsync(world.clock.until(world.host(2).agent.create('data', DEFAULT_OPTIONS)), { code: 'VOLUME_EXISTS' })
})

test('a volume that was removed may be created anew at once, also while other hosts still have its data', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.advance(60_000)
  world.host(2).connected = false
  await world.clock.until(world.host(1).agent.remove('data'))
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  world.host(2).connected = true
  await world.clock.until(world.host(2).agent.mount('data', 'use', 10_000))
  t.is((await world.record('data')).holder?.host, 'h2')
})

test('nothing is written while a host that lives does not answer, or half of the hosts are silent', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await loseRegistry(world)
  world.host(3).connected = false
  const living = await world.host(1).agent.recover(never)
  t.deepEqual(living.written, [])
  t.regex(living.problems.join('\n'), /h3 .*did not answer[\s\S]*Nothing was written: h3 .* lives and did not answer/)
  await world.clock.advance(20_000)
  const away = await world.host(1).agent.recover(never)
  t.deepEqual(away.written, ['data'])
  t.is(away.problems.length, 1)
  await loseRegistry(world)
  world.host(2).connected = false
  await world.clock.advance(20_000)
  const half = await world.host(1).agent.recover(never)
  t.deepEqual(half.written, [])
  t.regex(half.problems.join('\n'), /Nothing was written: 2 of 3 hosts did not answer/)
})

test('a write whose answer was lost is looked at again, and counts', async (t) => {
  const world = await World.start(2)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.use(1, 'data', 'one')
  await world.clock.advance(30_000)
  const entry = await world.registry.volume('data')
  if (entry === null) throw new Error('no record')
  // An older state of the registry came back.
  await world.registry.updateVolume({ ...entry.value, epoch: 0, last: null, copies: {} }, entry.revision)
  let lost = 0
  world.registry.afterWrite = (record) => {
    if (record.epoch === 0 || lost++ > 0) return
    throw new Error('the answer is lost')
  }
  const view = await world.clock.until(world.host(1).agent.recover(never))
  t.deepEqual(view, { written: ['data'], kept: [], problems: [] })
  t.is(lost, 1)
  t.is((await world.record('data')).last?.hash, 'hash of one')
})

test('promise 1: nothing is written over a silent host by one that has not reached the registry for long enough to know that it is lost', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', DEFAULT_OPTIONS)
  await world.clock.until(world.host(1).agent.mount('data', 'm', 10_000))
  await world.clock.advance(60_000)
  await loseRegistry(world)
  const [holder, other] = [world.host(1), world.host(2)]
  // The holder reaches the registry, and no other host reaches it.
  holder.agent = { ...holder.agent, answer: () => Promise.reject(new Error('not reached')) }
  other.connected = false
  await world.clock.advance(20_000)
  other.connected = true
  const view = await world.clock.until(other.agent.recover(never))
  t.deepEqual(view.written, [])
  t.regex(view.problems.join('\n'), /Nothing was written: /)
})

test('promise 2: a registry that has just come back with nothing knows no host that lives: their disks are looked at all the same', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.use(1, 'data', 'one')
  world.registry.away = true
  await world.clock.advance(20_000)
  world.registry.away = false
  await loseRegistry(world)
  const creating = t.throwsAsync(world.host(2).agent.create('data', DEFAULT_OPTIONS))
  t.like(await world.clock.until(creating), { code: 'VOLUME_EXISTS' })
})

test('a Mount that died while its volume was removed does not keep the name from being used again', async (t) => {
  const world = await World.start(2)
  const { store } = world.host(2)
  await store.create({ id: 'removed', name: 'data', options: DEFAULT_OPTIONS })
  await store.update('removed', { held: { epoch: 1, incarnation: 'intended' } })
  await world.clock.until(world.host(1).agent.create('data', DEFAULT_OPTIONS))
  await world.clock.until(world.host(2).agent.mount('data', 'use', 10_000))
  t.is((await world.record('data')).holder?.host, 'h2')
})

test('promise 2: a volume whose making has taken too long to ask the other hosts is not made', async (t) => {
  const world = await World.start(3)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies: 1 })
  await world.use(1, 'data', 'one')
  const { answer } = world.host(1).agent
  const late: typeof answer = async (question, peer, signal) => {
    await world.clock.sleep(2_000, signal)
    signal.throwIfAborted()
    return await answer(question, peer, signal)
  }
  await loseRegistry(world)
  world.registry.away = true
  const creating = t.throwsAsync(world.host(2).agent.create('data', DEFAULT_OPTIONS))
  await world.clock.advance(19_700)
  world.host(1).agent = { ...world.host(1).agent, answer: late }
  world.registry.away = false
  t.like(await world.clock.until(creating), { code: 'REGISTRY_UNAVAILABLE' })
  t.is(await world.registry.volume('data'), null)
})
