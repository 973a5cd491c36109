import test from 'ava'
import { HeldCopies } from '../../../agent/mobility/lease/held-copies.ts'
import { notedStore } from '../../../agent/mobility/lease/noted-store.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { VirtualClock } from '../../fake/clock.ts'
import { MemoryStore } from '../../fake/memory-store.ts'

const HELD = { epoch: 1, incarnation: 'i' }

async function begin() {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const held = new HeldCopies({ store, clock, signal: new AbortController().signal })
  for (const id of ['a', 'b']) await store.create({ id, name: id, options: DEFAULT_OPTIONS })
  const hold = async (id: string, on: boolean) => held.note(id, await store.update(id, { held: on ? HELD : null }))
  const ids = async () => (await clock.until(held.list())).map(({ id }) => id).sort()
  return { clock, store, held, hold, ids }
}

test('what this agent has changed counts, though a look that began before does not have it', async (t) => {
  const { clock, store, held, hold, ids } = await begin()
  t.deepEqual(await ids(), [])
  store.copiesMs = 5_000
  const looking = held.list()
  await hold('a', true)
  t.deepEqual(
    (await clock.until(looking)).map(({ id }) => id),
    ['a'],
    'a look that is under way',
  )
  t.deepEqual(await ids(), ['a'], 'what was read last')
  await clock.advance(5_000)
  t.deepEqual(await ids(), ['a'], 'when that look is over')
  await hold('a', false)
  await hold('b', true)
  t.deepEqual(await ids(), ['b'])
})

test('a later look at the disk has the last word', async (t) => {
  const { clock, store, held, hold, ids } = await begin()
  await ids()
  await hold('a', true)
  t.deepEqual(await ids(), ['a'])
  await store.update('a', { held: null })
  await clock.advance(1_000)
  t.deepEqual(await ids(), [])
  await hold('b', true)
  held.note('b', null)
  t.deepEqual(
    (await clock.until(held.all())).map(({ id }) => id),
    ['a', 'b'],
    'it has looked since',
  )
  t.deepEqual(await ids(), ['b'])
})

test('the first look is waited for, and has what was changed meanwhile', async (t) => {
  const { clock, store, held, hold } = await begin()
  store.copiesMs = 5_000
  const looking = held.list()
  await hold('b', true)
  await clock.advance(4_000)
  let ended = false
  void looking.then(() => {
    ended = true
  })
  await clock.advance(500)
  t.false(ended)
  t.deepEqual(
    (await clock.until(looking)).map(({ id }) => id),
    ['b'],
  )
})

test('promise 1: a hold whose record cannot be read any more is still one', async (t) => {
  const { store, hold, ids } = await begin()
  await ids()
  await hold('a', true)
  store.unreadable.add('a')
  t.deepEqual(await ids(), ['a'])
  t.deepEqual(await ids(), ['a'], 'nor does the next look end it')
  store.unreadable.delete('a')
  await store.update('a', { held: null })
  t.deepEqual(await ids(), [])
})

test('a disk that cannot be listed any more ends no hold', async (t) => {
  const { store, hold, ids } = await begin()
  await ids()
  await hold('a', true)
  store.copiesError = new Error('EIO')
  t.deepEqual(await ids(), ['a'])
  await hold('b', true)
  t.deepEqual(await ids(), ['a', 'b'])
})

test('a copy that has left the disk is gone at once, whichever way it went', async (t) => {
  const { clock, store, held } = await begin()
  const noted = notedStore(store, (id, copy) => held.note(id, copy))
  const all = async () => (await clock.until(held.all())).map(({ id }) => id)
  t.deepEqual(await all(), ['a', 'b'])
  store.copiesMs = 5_000
  await noted.trash('a')
  t.deepEqual(await all(), ['b'])
  await noted.setAside('b')
  t.deepEqual(await all(), [])
})

test('promise 1: what no record describes is named: damaged ones that were never read, and mounts without a record', async (t) => {
  const { store, held, hold, ids } = await begin()
  store.unreadable.add('a')
  store.mountedIds.add('c')
  t.deepEqual(await ids(), [])
  t.deepEqual([...held.undescribed].sort(), ['a', 'c'])
  store.unreadable.delete('a')
  store.mountedIds.delete('c')
  t.deepEqual(await ids(), [])
  t.deepEqual([...held.undescribed], [])
  await hold('a', true)
  store.unreadable.add('a')
  t.deepEqual(await ids(), ['a'])
  t.deepEqual([...held.undescribed], [], 'its hold is known')
})

test('promise 1: a hold whose directory was moved away while it is mounted is still one', async (t) => {
  const { store, hold, ids } = await begin()
  await ids()
  await hold('a', true)
  t.deepEqual(await ids(), ['a'])
  await store.trash('a')
  store.mountedIds.add('a')
  t.deepEqual(await ids(), ['a'])
  store.mountedIds.delete('a')
  t.deepEqual(await ids(), [])
})
