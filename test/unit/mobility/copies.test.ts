import test from 'ava'
import fc from 'fast-check'
import { copyFields, orderOf } from '../../../agent/mobility/record/checkpoint-order.ts'
import { copiesAfter, hasCheckpoint, isLeftBehind, withReplies } from '../../../agent/mobility/record/copies.ts'
import type { Checkpoint, CopyRecord, CopyState, VolumeRecord } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

const checkpoint = (epoch: number, seq: number): Checkpoint => ({
  epoch,
  seq,
  hash: `${epoch}.${seq}`,
  at: '',
  bytes: 0,
  files: 0,
})

const copy = (state: CopyState, epoch: number, seq: number): CopyRecord => ({
  epoch,
  seq,
  state,
  at: 'then',
  kept: true,
})

function record(last: Checkpoint | null, copies: Record<string, CopyRecord>): VolumeRecord {
  const [holder, bare] = [
    { host: 'h1', incarnation: 'i', since: '' },
    { seizures: [], removedAt: null },
  ]
  return { id: 'v', name: 'v', options: DEFAULT_OPTIONS, createdAt: '', epoch: 2, holder, last, copies, ...bare }
}

test('answers make the newest checkpoint the last one, their hosts current, others behind, and leave the rest alone', (t) => {
  const copies = {
    h1: copy('current', 1, 1),
    h2: copy('current', 1, 1),
    h3: copy('current', 1, 1),
    h4: copy('filling', 0, 0),
    h5: copy('diverged', 1, 1),
  }
  const answers = new Map([
    ['h2', checkpoint(2, 3)],
    ['h4', checkpoint(2, 2)],
    ['h5', checkpoint(2, 9)],
    ['h9', checkpoint(2, 9)],
  ])
  const next = withReplies(record(checkpoint(1, 1), copies), 'h1', answers, 'now')
  t.deepEqual(next.last, checkpoint(2, 3))
  t.deepEqual(next.copies, {
    h1: { ...copy('current', 2, 3), ...copyFields(checkpoint(2, 3)), at: 'now' },
    h2: { ...copy('current', 2, 3), ...copyFields(checkpoint(2, 3)), at: 'now' },
    h3: { ...copy('behind', 1, 1), at: 'now' },
    h4: { ...copy('behind', 2, 2), ...copyFields(checkpoint(2, 2)), at: 'now' },
    h5: copy('diverged', 1, 1),
  })
  t.is(withReplies(next, 'h1', answers, 'later'), next)
  t.is(withReplies(next, 'h1', new Map(), 'later'), next)
})

const states = fc.constantFrom<CopyState>('current', 'behind', 'filling', 'diverged')
const place = fc.record({ epoch: fc.integer({ min: 1, max: 2 }), seq: fc.integer({ min: 1, max: 4 }) })
const hosts = ['h1', 'h2', 'h3', 'h4']

test('promise 5: whatever hosts answer, the last checkpoint never goes back, is on another host, and only its owners are current', (t) => {
  const entry = fc.tuple(states, place).map(([state, { epoch, seq }]) => copy(state, epoch, seq))
  const anyCopies = fc.dictionary(fc.constantFrom(...hosts), entry)
  const anyAnswers = fc.dictionary(fc.constantFrom(...hosts), place)
  const property = fc.property(anyCopies, anyAnswers, fc.option(place), (copies, said, last) => {
    const before = record(last === null ? null : checkpoint(last.epoch, last.seq), copies)
    // In a record only who is at the last checkpoint is current.
    for (const [host, { state, epoch, seq }] of Object.entries(copies)) {
      if (state === 'current' && (epoch !== last?.epoch || seq !== last.seq)) delete copies[host]
    }
    const answers = new Map(Object.entries(said).map(([host, { epoch, seq }]) => [host, checkpoint(epoch, seq)]))
    const after = withReplies(before, 'h1', answers, 'now')
    if (after === before) return
    if (after.last === null) throw new Error('no last checkpoint')
    if (before.last !== null && orderOf(after.last, before.last) === 'older') throw new Error('it went back')
    if (before.last !== null && orderOf(after.last, before.last) === 'newer') {
      const owners = hosts.filter((host) => host !== 'h1' && answers.get(host)?.hash === after.last?.hash)
      if (!owners.some((host) => after.copies[host]?.state === 'current')) throw new Error('nobody has it')
    }
    for (const [host, { state, epoch, seq }] of Object.entries(after.copies)) {
      const isLast = epoch === after.last.epoch && seq === after.last.seq
      if (state === 'current' && !isLast) throw new Error(`${host} is called current at ${epoch}.${seq}`)
      if ((copies[host]?.state === 'diverged') !== (state === 'diverged')) throw new Error(`${host} is ${state}`)
    }
  })
  t.notThrows(() => fc.assert(property, { numRuns: 2_000 }))
})

test('a copy that began anew after data was given up is current when it says so, whatever was known of it before', (t) => {
  const copies = { h1: copy('current', 1, 5), h2: copy('behind', 1, 9) }
  const next = withReplies(record(checkpoint(1, 5), copies), 'h1', new Map([['h2', checkpoint(1, 5)]]), 'now')
  t.like(next.copies.h2, { state: 'current', epoch: 1, seq: 5 })
})

test('promise 7: a checkpoint after the base of a take-over is left behind; one before it, or of the epoch that followed, is not', (t) => {
  const base = { epoch: 1, seq: 5, hash: '' }
  const seizure = { epoch: 2, from: 'h1', by: 'h2', at: '', base, ageSeconds: 0 }
  const takenOver = { ...record(checkpoint(2, 7), {}), seizures: [seizure] }
  t.true(isLeftBehind(takenOver, { epoch: 1, seq: 6 }))
  t.false(isLeftBehind(takenOver, { epoch: 1, seq: 5 }))
  t.false(isLeftBehind(takenOver, { epoch: 1, seq: 4 }))
  // Newer than what the registry has heard of, but of the line it is on.
  t.false(isLeftBehind(takenOver, { epoch: 2, seq: 8 }))
})

test('promise 14: after a release or a take-over only copies whose hash may be the same stay current', (t) => {
  const last = checkpoint(1, 1)
  const copies = {
    same: { ...copy('current', 1, 1), ...copyFields(last) },
    other: { ...copy('current', 1, 1), ...copyFields({ ...last, hash: 'other' }) },
    old: copy('current', 1, 1),
    // An older release has written epoch and number and kept a field that it does not know.
    kept: { ...copy('current', 1, 1), checkpoint: { epoch: 1, seq: 0, hash: 'earlier' } },
  }
  const after = copiesAfter(record(last, copies), 'h1', last)
  const states = Object.fromEntries(Object.entries(after).map(([host, { state }]) => [host, state]))
  t.deepEqual(states, { h1: 'current', same: 'current', other: 'behind', old: 'current', kept: 'current' })
  const proven = Object.entries(after).filter(([, one]) => hasCheckpoint(one, last))
  t.deepEqual(proven.map(([host]) => host).sort(), ['h1', 'same'])
})

test('promise 14: a host that answers with the last checkpoint under another hash is not current', (t) => {
  const last = checkpoint(1, 1)
  const next = withReplies(
    record(last, { h2: copy('current', 1, 1) }),
    'h1',
    new Map([['h2', { ...last, hash: 'other' }]]),
    'now',
  )
  t.is(next.last, last)
  t.is(next.copies.h2?.state, 'behind')
})
