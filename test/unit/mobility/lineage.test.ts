import test from 'ava'
import fc from 'fast-check'
import { type CheckpointIdentity, orderOf } from '../../../agent/mobility/record/checkpoint-order.ts'
import { isInLine, lostHolders, seizureFields, standingOf } from '../../../agent/mobility/record/lineage.ts'
import type { Checkpoint, Seizure, VolumeRecord } from '../../../agent/model/model.ts'
import { volumeSchema } from '../../../agent/model/record-schema.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'

type Line = Pick<VolumeRecord, 'seizures' | 'seizuresCut' | 'last'>

const at = (epoch: number, seq: number, hash = `${epoch}.${seq}`): Checkpoint => ({
  epoch,
  seq,
  hash,
  at: '',
  bytes: 1,
  files: 1,
})

function seized(line: Line, epoch: number, base: CheckpointIdentity, from = `h${epoch}`): Line {
  const seizure: Seizure = { epoch, from, by: 'x', at: '', base, ageSeconds: 1 }
  return { ...line, ...seizureFields(line, seizure), last: at(base.epoch, base.seq, base.hash) }
}

/** The volume was taken over at 5.7 from a host whose disk has more, and many times since. */
function takenOver(times: number): Line {
  let line = seized({ seizures: [], last: at(5, 7) }, 6, at(5, 7), 'old')
  for (let epoch = 7; epoch < 6 + times; epoch++) line = seized(line, epoch, at(epoch - 1, 1))
  return line
}

test('promise 14: epoch and number order checkpoints, the hash says whether two of the same order are the same', (t) => {
  t.is(orderOf(at(1, 9), at(2, 1)), 'older')
  t.is(orderOf(at(2, 2), at(2, 1)), 'newer')
  t.is(orderOf(at(2, 1), at(2, 1)), 'same')
  t.is(orderOf(at(2, 1), at(2, 1, 'other')), 'conflict')
  t.is(orderOf({ epoch: 2, seq: 1 }, at(2, 1)), 'unproven')
})

test('promise 14: a checkpoint with the name of another one of the line is none of the volume', (t) => {
  t.is(standingOf({ seizures: [], last: at(1, 1) }, at(1, 1, 'empty')), 'conflict')
  t.is(standingOf({ seizures: [], last: at(1, 1) }, at(1, 1)), 'in line')
  t.is(standingOf(takenOver(3), at(5, 7, 'empty')), 'conflict')
  t.is(standingOf({ seizures: [], last: null }, at(1, 1)), 'newer')
})

test('a checkpoint after the base of a take-over is left behind unless its content is that of one in line', (t) => {
  t.is(standingOf(takenOver(1), at(5, 9)), 'left behind')
  t.is(standingOf(takenOver(1), at(5, 9, '5.7')), 'repeated')
  t.is(standingOf(takenOver(1), at(5, 7)), 'in line')
  t.is(standingOf(takenOver(1), at(6, 2)), 'newer')
})

test('promise 7: a tree that the cluster did not go on from stays so, however many take-overs follow', (t) => {
  for (const times of [1, 31, 32, 33, 40, 100]) {
    t.is(standingOf(takenOver(times), at(5, 9)), 'left behind', `after ${times}`)
    t.false(isInLine(takenOver(times), at(5, 9)))
  }
})

test('promise 7: what is older than the list counts as in line only when its hash is known', (t) => {
  const line = takenOver(50)
  t.is(standingOf(line, at(5, 3)), 'left behind')
  t.is(standingOf({ ...line, last: at(5, 3) }, at(5, 3)), 'in line', 'a tree that never changed since')
  const [oldest] = line.seizures
  if (oldest === undefined) return t.fail()
  const { base, epoch } = oldest
  t.is(standingOf(line, at(base.epoch, base.seq)), 'in line')
  t.is(standingOf(line, at(epoch, 1)), 'in line')
})

test('promise 7: a list that an older release has cut without a note is as doubtful', (t) => {
  const { seizuresCut: _none, ...line } = takenOver(33)
  t.is(line.seizures.length, 32)
  t.is(standingOf(line, at(5, 9)), 'left behind')
  t.is(standingOf(line, at(5, 3)), 'left behind')
  // And when it has gone on cutting beside a note of a newer one.
  const later = takenOver(60)
  const noted = takenOver(34).seizuresCut
  t.is(standingOf({ ...later, seizuresCut: noted }, at(20, 9)), 'left behind')
})

test('hosts that lost the volume are known after their take-overs were cut off: a removal asks them', (t) => {
  const hosts = lostHolders(takenOver(50))
  t.true(hosts.includes('old'))
  t.is(hosts.length, 50)
})

test('what is cut off survives the registry, and records without it can be read', (t) => {
  const bare = {
    id: 'v',
    name: 'v',
    options: DEFAULT_OPTIONS,
    createdAt: '',
    epoch: 1,
    holder: null,
    copies: {},
    removedAt: null,
  }
  t.deepEqual(volumeSchema.parse({ ...bare, ...takenOver(40) }).seizuresCut, takenOver(40).seizuresCut)
  const copy = { epoch: 1, seq: 1, state: 'current', at: '', kept: true }
  const old = volumeSchema.parse({ ...bare, seizures: [], last: null, copies: { h1: copy } })
  t.is(old.seizuresCut, undefined)
  t.is(old.copies.h1?.checkpoint, undefined)
})

test('promise 7: no history of take-overs makes a checkpoint in line that no base and no last one covers', (t) => {
  const steps = fc.array(fc.record({ seq: fc.integer({ min: 1, max: 5 }), taken: fc.boolean() }), { maxLength: 60 })
  const property = fc.property(steps, fc.integer({ min: 0, max: 59 }), (history, which) => {
    let line: Line = { seizures: [], last: null }
    const beyond: Checkpoint[] = []
    history.forEach(({ seq, taken }, index) => {
      const epoch = index + 1
      // Its holder took one more than the cluster got, and was lost.
      if (taken) {
        beyond.push(at(epoch, seq + 1))
        line = seized(line, epoch + 1, at(epoch, seq))
      } else line = { ...line, last: at(epoch, seq) }
    })
    const checkpoint = beyond[which % Math.max(1, beyond.length)]
    return checkpoint === undefined || !isInLine(line, checkpoint)
  })
  t.notThrows(() => fc.assert(property, { numRuns: 1_000 }))
})
