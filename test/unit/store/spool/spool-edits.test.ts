// In properties: ava's own assertions would end the test before fast-check has found a smaller case.
import { deepEqual, ok } from 'node:assert/strict'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { codeOf } from '../../../../agent/model/errors.ts'
import { describeTree } from '../comparer.ts'
import { BEGINNING, type Edit, edit, editSlowly, LIMITS, someCreation, someEdit } from '../edits.ts'
import { type FileSystemKind, fileSystem } from '../file-systems.ts'
import { newVolume, type StoreHost, storeHost } from '../fixture.ts'
import { buildObject } from '../tracker/fixture.ts'
import { Held } from './held.ts'

/** Some 10 s for each file system on two calm cores. */
const RUNS: Record<FileSystemKind, number> = { ext4: 12, xfs: 6, btrfs: 6 }
const TRACKED_RUNS = 15
const LIVE_RUNS = 6
const PAUSE_MS = 2
/**
 * With a constant writer a copy that is far behind may have to wait for the next checkpoint, and the one after.
 * On a loaded machine it may wait for more.
 */
const CHECKPOINTS_TO_CONVERGE = 10

const someEdits = fc.array(someEdit, { minLength: 3, maxLength: 25 })
/** A tree, and for each checkpoint the edits before it, during its rounds, after them and after it. */
const history = fc.tuple(
  fc.array(someCreation, { minLength: 5, maxLength: 30 }),
  fc.array(fc.tuple(someEdits, someEdits, fc.array(someEdit, { maxLength: 3 }), someEdits), {
    minLength: 2,
    maxLength: 3,
  }),
)

for (const [kind, numRuns] of Object.entries(RUNS) as [FileSystemKind, number][]) {
  test(`promise 5: after any edits on ${kind} a copy gets the next checkpoint, while the tree changes`, async (t) => {
    const root = fileSystem(t, kind)
    const one = await storeHost(t, join(root, 'one'), undefined, { atOnceBytes: 0 })
    await everyCheckpointIsExact(one, await storeHost(t, join(root, 'two')), numRuns)
    t.pass()
  })
}

for (const kind of ['ext4', 'xfs'] as const) {
  test(`promise 5: the same on ${kind} where the kernel reports changes, and nothing else is scanned`, async (t) => {
    const root = fileSystem(t, kind)
    const one = await storeHost(t, join(root, 'one'), undefined, { trackerObject: buildObject() })
    const two = await storeHost(t, join(root, 'two'))
    // Trees with hard links are looked at as a whole.
    await everyCheckpointIsExact(one, two, TRACKED_RUNS, ([name]) => name !== 'link')
    await everyCheckpointIsExact(one, two, TRACKED_RUNS)
    t.pass()
  })
}

async function everyCheckpointIsExact(one: StoreHost, two: StoreHost, numRuns: number, wanted = (_: Edit) => true) {
  const property = fc.asyncProperty(history, async ([tree, checkpoints]) => {
    const it = await Held.begin(one, newVolume())
    edit(it.data, [...BEGINNING, ...tree].filter(wanted))
    for (const [before, during, late, after] of checkpoints) {
      edit(it.data, before.filter(wanted))
      await Promise.all([it.rounds(2), editSlowly(it.data, during.filter(wanted), PAUSE_MS)])
      edit(it.data, late.filter(wanted))
      const then: string[] = []
      const taken = await it.take('quiet', () => then.push(...describeTree(it.data)))
      edit(it.data, after.filter(wanted))
      ok((await it.copyTo(two, taken)).complete, 'the spool and the copy have all of it')
      deepEqual(describeTree(two.data(it.volume.id)), then)
    }
  })
  await fc.assert(property, { ...LIMITS, numRuns })
}

test('checkpoints that are taken while somebody writes are whole: a copy that follows gets each of them', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const property = fc.asyncProperty(history, async ([tree, checkpoints]) => {
    const it = await Held.begin(one, newVolume())
    edit(it.data, [...BEGINNING, ...tree])
    ok((await it.copyTo(two, await it.take())).complete)
    for (const edits of checkpoints) {
      const taking = async () => {
        await it.rounds(1)
        return await it.take('live')
      }
      const [taken] = await Promise.all([taking(), editSlowly(it.data, edits.flat(), PAUSE_MS)])
      ok((await it.copyTo(two, taken)).complete)
    }
    const last = await it.take('quiet')
    ok((await it.copyTo(two, last)).complete)
    deepEqual(describeTree(two.data(it.volume.id)), describeTree(it.data))
  })
  await fc.assert(property, { ...LIMITS, numRuns: LIVE_RUNS })
  t.pass()
})

test('a copy that is two checkpoints behind catches up while somebody writes all the time', async (t) => {
  const [one, two] = [await storeHost(t), await storeHost(t)]
  const property = fc.asyncProperty(history, async ([tree, checkpoints]) => {
    const it = await Held.begin(one, newVolume())
    edit(it.data, [...BEGINNING, ...tree])
    const edits = checkpoints.flat(2)
    ok((await it.copyTo(two, await it.take())).complete)
    for (let nth = 0; nth < 2; nth++) {
      edit(it.data, edits)
      await it.take()
    }
    const writing = editSlowly(it.data, [...edits, ...edits, ...edits], PAUSE_MS)
    deepEqual(await catchUp(it, two), true)
    await writing
  })
  await fc.assert(property, { ...LIMITS, numRuns: LIVE_RUNS })
  t.pass()
})

/** Checkpoint after checkpoint, until one has come whole. */
async function catchUp(it: Held, to: StoreHost): Promise<boolean> {
  for (let nth = 0; nth < CHECKPOINTS_TO_CONVERGE; nth++) {
    const taken = await it.take('live')
    try {
      if ((await it.copyTo(to, taken)).complete) return true
    } catch (error) {
      if (codeOf(error) !== 'TREE_CHANGED') throw error
    }
  }
  return false
}
