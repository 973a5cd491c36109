import test from 'ava'
import { HeldCopies } from '../../../agent/mobility/held-copies.ts'
import { DEFAULT_OPTIONS } from '../../../agent/options.ts'
import { VirtualClock } from './clock.ts'
import { MemoryStore } from './memory-store.ts'

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
