// ava's own assertions would end the test before fast-check has found a smaller case.
import { deepEqual } from 'node:assert/strict'
import test from 'ava'
import fc from 'fast-check'
import { codeOf } from '../../../agent/model/errors.ts'
import { differences } from './comparer.ts'
import { BEGINNING, EDIT_KINDS, type Effects, edit, editSlowly, LIMITS, someCreation, someEdit } from './edits.ts'
import { ONCE_FAILED } from './edits-once-failed.ts'
import { calm, move, newVolume, type StoreHost, send, storeHost } from './fixture.ts'

/** A tree and the edits between its checkpoints. */
const checkpoints = fc.tuple(
  fc.array(someCreation, { minLength: 10, maxLength: 40 }),
  fc.array(fc.array(someEdit, { minLength: 5, maxLength: 40 }), { minLength: 2, maxLength: 3 }),
)
/** Enough that every kind of edit takes effect several times; some 25 s on two calm cores. */
const RUNS = 40
const LIVE_RUNS = 12
const LIVE_PAUSE_MS = 3

test('after any edits the receiver equals the sender, checkpoint after checkpoint', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const effects: Effects = {}
  await fc.assert(
    fc.asyncProperty(checkpoints, async ([tree, rounds]) => {
      const v = newVolume()
      await one.store.create(v)
      for (const [seq, edits] of [[...BEGINNING, ...tree], ...rounds].entries()) {
        for (const [kind, count] of Object.entries(edit(one.data(v.id), edits)))
          effects[kind] = (effects[kind] ?? 0) + count
        // Later on, where zeros were written over a hole or a hole made of zeros, blocks are equal and stay as they
        // are.
        await moveAndCompare(one, two, v, seq, seq === 0 ? 'exact' : 'bounded')
      }
    }),
    { ...LIMITS, numRuns: RUNS + ONCE_FAILED.length, examples: ONCE_FAILED.map((example) => [example]) },
  )
  t.deepEqual(Object.keys(effects).sort(), [...EDIT_KINDS].sort(), 'every kind of edit took effect')
})

test('edits while live captures are taken and pre-seeded: after a quiet one both sides are equal', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  let sentAhead = 0
  await fc.assert(
    fc.asyncProperty(checkpoints, async ([tree, rounds]) => {
      const v = newVolume()
      await one.store.create(v)
      edit(one.data(v.id), [...BEGINNING, ...tree])
      for (const [seq, edits] of rounds.entries()) {
        let over = false
        const editor = editSlowly(one.data(v.id), edits, LIVE_PAUSE_MS).finally(() => {
          over = true
        })
        const ahead = (async () => {
          while (!over) if (await sendAhead(one, two, v)) sentAhead += 1
        })()
        await Promise.all([editor, ahead])
        await moveAndCompare(one, two, v, seq, 'bounded')
      }
    }),
    { ...LIMITS, numRuns: LIVE_RUNS },
  )
  t.true(sentAhead > 0, 'no live capture was sent whole')
})

type Volume = ReturnType<typeof newVolume>

/** A tree in use: whatever changes on the way is left for later. */
async function sendAhead(one: StoreHost, two: StoreHost, v: Volume): Promise<boolean> {
  try {
    await one.store.capture(v.id, 'live', calm)
    return (await send(one.store, two.store, v, 'live')).complete
  } catch (error) {
    if (codeOf(error) !== 'TREE_CHANGED') throw error
    return false
  }
}

async function moveAndCompare(
  one: StoreHost,
  two: StoreHost,
  v: Volume,
  seq: number,
  extents: 'exact' | 'bounded',
): Promise<void> {
  await move(one.store, two.store, v, seq)
  deepEqual(differences(one.data(v.id), two.data(v.id), { extents }), [])
}
