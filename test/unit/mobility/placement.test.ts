import test from 'ava'
import fc from 'fast-check'
import type { PlacementHost } from '../../../agent/mobility/placement/placement-host.ts'
import { mayGiveUp, placeCopies } from '../../../agent/mobility/placement/policy.ts'
import { copyFields } from '../../../agent/mobility/record/checkpoint-order.ts'
import { isNewest } from '../../../agent/mobility/record/copies.ts'
import type { CopyRecord, CopyState, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

const LAST = { epoch: 3, seq: 5, hash: 'h', at: '', bytes: 10e9, files: 1 }

function host(id: string, more: Partial<PlacementHost> = {}): PlacementHost {
  const room = { freeBytes: 500e9, totalBytes: 1000e9, comingBytes: 0 }
  return { id, zone: null, draining: false, gone: false, ...room, ...more }
}

function copy(state: CopyState, kept = true): CopyRecord {
  const point =
    state === 'current' ? copyFields(LAST) : state === 'filling' ? { epoch: 0, seq: 0 } : { epoch: 3, seq: 4 }
  return { ...point, state, at: '', kept }
}

function record(
  copies: Record<string, CopyRecord>,
  more: Partial<VolumeRecord> & { wanted?: number } = {},
): VolumeRecord {
  const { wanted = 2, ...others } = more
  const options = { ...DEFAULT_OPTIONS, copies: wanted }
  const bare = { id: 'v', name: 'data', createdAt: '', epoch: 3, holder: null, seizures: [], removedAt: null }
  return { ...bare, options, last: LAST, copies, ...others }
}

const heldBy = (id: string) => ({ holder: { host: id, incarnation: 'i', since: '' } })

test('the holder is first; the others go where another zone is, then where most is free', (t) => {
  const hosts = [
    host('a', { zone: 'east' }),
    host('b', { zone: 'east', freeBytes: 900e9 }),
    host('c', { zone: 'west', freeBytes: 300e9 }),
    host('d', { zone: 'west', freeBytes: 400e9 }),
  ]
  const held = record({ a: copy('current') }, heldBy('a'))
  t.deepEqual(placeCopies(held, hosts), ['a', 'd'])
  t.deepEqual(placeCopies({ ...held, options: { ...held.options, copies: 3 } }, hosts), ['a', 'd', 'b'])
  t.deepEqual(placeCopies({ ...held, options: { ...held.options, copies: 9 } }, hosts), ['a', 'd', 'b', 'c'])
  t.deepEqual(placeCopies({ ...held, options: { ...held.options, copies: 1 } }, hosts), ['a'])
})

test('what is good stays where it is, whatever space and zones others have', (t) => {
  const hosts = [
    host('a', { zone: 'east' }),
    host('b', { zone: 'east', freeBytes: 110e9 }),
    host('c', { zone: 'west', freeBytes: 900e9 }),
  ]
  t.deepEqual(placeCopies(record({ a: copy('current'), b: copy('current', false) }), hosts), ['a', 'b'])
  t.deepEqual(placeCopies(record({ a: copy('current'), b: copy('behind') }), hosts), ['a', 'b'])
  t.deepEqual(placeCopies(record({ a: copy('current'), b: copy('filling') }), hosts), ['a', 'b'])
  // What was only sent ahead is no copy.
  t.deepEqual(placeCopies(record({ a: copy('current'), b: copy('filling', false) }), hosts), ['a', 'c'])
})

test('no copy goes to a host that is drained, full, gone, or about to be full; those that have one are replaced', (t) => {
  const copies = { a: copy('current'), b: copy('current') }
  for (const state of [{ draining: true }, { gone: true }]) {
    t.deepEqual(placeCopies(record(copies), [host('a'), host('b', state), host('c')]), ['a', 'c'])
    t.deepEqual(placeCopies(record({ a: copy('current') }), [host('a'), host('b', state)]), ['a'])
  }
  const bad = [
    { freeBytes: 25e9 },
    { comingBytes: 480e9 },
    { freeBytes: 0, totalBytes: 0 },
    { totalBytes: 100e9, freeBytes: 15e9 },
  ]
  for (const space of bad) {
    t.deepEqual(
      placeCopies(record({ a: copy('current') }), [host('a'), host('b', space)]),
      ['a'],
      JSON.stringify(space),
    )
  }
  // A full disk that has the newest checkpoint is good; one that is behind and cannot catch up is not.
  const full = host('b', { freeBytes: 1e9 })
  t.deepEqual(placeCopies(record(copies), [host('a'), full, host('c')]), ['a', 'b'])
  t.deepEqual(placeCopies(record({ ...copies, b: copy('behind') }), [host('a'), full, host('c')]), ['a', 'c'])
})

test('while a volume is in use, a copy on a full disk cannot take in its checkpoints: another host gets one, and until then, or without one, it stays', (t) => {
  const full = host('b', { freeBytes: 1e9 })
  for (const state of ['current', 'behind'] as const) {
    const held = record({ a: copy('current'), b: copy(state) }, heldBy('a'))
    t.deepEqual(placeCopies(held, [host('a'), full, host('c')]), ['a', 'c'])
    t.false(
      mayGiveUp(held, 'b', [host('a'), full, host('c')], () => true),
      'not before the other one is current',
    )
    const replaced = { ...held, copies: { ...held.copies, c: copy('current') } }
    t.true(mayGiveUp(replaced, 'b', [host('a'), full, host('c')], () => true))
    t.deepEqual(placeCopies(held, [host('a'), full]), ['a', 'b'])
    t.false(
      mayGiveUp(held, 'b', [host('a'), full], () => true),
      'an old copy is better than none',
    )
  }
})

test('a diverged copy counts for nothing, and its host gets no other one', (t) => {
  const copies = { a: copy('current'), b: copy('diverged') }
  t.deepEqual(placeCopies(record(copies), [host('a'), host('b')]), ['a'])
  t.false(mayGiveUp(record(copies), 'a', [host('a'), host('b')], () => true))
})

test('a holder that is drained still counts while it holds: its container takes the data along', (t) => {
  const held = record({ a: copy('current'), b: copy('current') }, heldBy('a'))
  t.deepEqual(placeCopies(held, [host('a', { draining: true }), host('b'), host('c')]), ['a', 'b'])
})

test('a copy is given up only when every host that should have one is current and lives', (t) => {
  const hosts = [host('a'), host('b'), host('c', { draining: true })]
  const enough = record({ a: copy('current'), b: copy('current'), c: copy('current') })
  t.true(mayGiveUp(enough, 'c', hosts, () => true))
  t.false(mayGiveUp(enough, 'c', hosts, (id) => id !== 'b'))
  t.false(mayGiveUp(enough, 'a', hosts, () => true))
  t.false(mayGiveUp({ ...enough, ...heldBy('c') }, 'c', hosts, () => true))
  t.false(mayGiveUp({ ...enough, removedAt: 'now' }, 'c', hosts, () => true))
  t.false(mayGiveUp(record({ a: copy('current'), b: copy('behind'), c: copy('current') }), 'c', hosts, () => true))
  t.false(mayGiveUp(record({ c: copy('current') }), 'c', [host('c', { draining: true })], () => true))
})

test('promise 14: no copy is given up because of one that has the newest epoch and number with another hash, or with none that is known', (t) => {
  const hosts = [host('a'), host('b'), host('c', { draining: true })]
  const other = { ...copy('current'), ...copyFields({ ...LAST, hash: 'other' }) }
  const unproven = { epoch: 3, seq: 5, state: 'current', at: '', kept: true } as const
  for (const b of [other, unproven]) {
    t.false(mayGiveUp(record({ a: copy('current'), b, c: copy('current') }), 'c', hosts, () => true))
  }
  // An entry of an older release keeps its place until its host has told the hash; one with another hash is as good as
  // one that is behind.
  const places = (b: CopyRecord) =>
    placeCopies(record({ a: copy('current'), b, c: copy('current') }), [host('a'), host('b'), host('c')])
  t.deepEqual(places(unproven), ['a', 'b'])
  t.deepEqual(places(other), ['a', 'c'])
})

const STATES = ['current', 'behind', 'filling', 'diverged'] as const
const anyHost = (id: string) =>
  fc.record({
    zone: fc.constantFrom(null, 'east', 'west'),
    draining: fc.boolean(),
    gone: fc.boolean(),
    freeBytes: fc.constantFrom(0, 5e9, 15e9, 50e9, 90e9),
    totalBytes: fc.constantFrom(0, 100e9),
    comingBytes: fc.constantFrom(0, 30e9),
    copy: fc.option(fc.record({ state: fc.constantFrom(...STATES), kept: fc.boolean() })),
    alive: fc.boolean(),
    id: fc.constant(id),
  })
const anyCluster = fc.tuple(...['a', 'b', 'c', 'd', 'e'].map(anyHost))
const anyHolder = fc.constantFrom(null, 'a', 'b', 'x')

test('promise 7: whatever the cluster looks like, giving up in any order leaves the newest checkpoint on a host that lives', (t) => {
  const property = fc.property(anyCluster, anyHolder, fc.integer({ min: 1, max: 4 }), (cluster, holder, wanted) => {
    const copies = Object.fromEntries(
      cluster.flatMap((one) => (one.copy === null ? [] : [[one.id, copy(one.copy.state, one.copy.kept)]])),
    )
    let now = record(copies, { wanted, ...(holder === null ? {} : heldBy(holder)) })
    const living = (id: string) => cluster.some((one) => one.id === id && one.alive)
    for (const { id } of cluster) {
      if (now.copies[id] === undefined || !mayGiveUp(now, id, cluster, living)) continue
      t.not(id, holder)
      const { [id]: _gone, ...left } = now.copies
      now = { ...now, copies: left }
      t.true(Object.keys(left).some((other) => isNewest(now, left[other]) && living(other)))
    }
  })
  t.notThrows(() => fc.assert(property, { numRuns: 2_000 }))
})

test('placement is the same in whatever order hosts are known, and comes to rest', (t) => {
  const property = fc.property(anyCluster, anyHolder, fc.integer({ min: 1, max: 4 }), (cluster, holder, wanted) => {
    const copies = Object.fromEntries(
      cluster.flatMap((one) => (one.copy === null ? [] : [[one.id, copy(one.copy.state, one.copy.kept)]])),
    )
    const before = record(copies, { wanted, ...(holder === null ? {} : heldBy(holder)) })
    const placed = placeCopies(before, cluster)
    t.deepEqual(placed, placeCopies(before, cluster.toReversed()))
    t.is(new Set(placed).size, placed.length)
    t.true(placed.length <= Math.max(wanted, 1))
    // Who was chosen and has filled its copy stays chosen.
    const filled = { ...copies, ...Object.fromEntries(placed.map((id) => [id, copy('current')])) }
    t.deepEqual([...placeCopies({ ...before, copies: filled }, cluster)].sort(), [...placed].sort())
  })
  t.notThrows(() => fc.assert(property, { numRuns: 2_000 }))
})
