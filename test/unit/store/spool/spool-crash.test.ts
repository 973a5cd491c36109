import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { describeTree } from '../comparer.ts'
import { BEGINNING, type Edit, edit } from '../edits.ts'
import { deleteTree, newVolume, type StoreHost, send, storeHost, temporaryDirectory } from '../fixture.ts'
import { Held } from './held.ts'

const BLOCK_BYTES = 64 * 1024

/** The holder is at checkpoint 2 and has been written to since; copies at 1 and 2. */
interface Prepared {
  readonly volume: ReturnType<typeof newVolume>
  readonly holder: string
  /** State directories of copies, by their checkpoint. */
  readonly copies: Readonly<Record<number, string>>
  /** What the tree was, by its checkpoint; 3: what it is. */
  readonly trees: Readonly<Record<number, string[]>>
}

let prepared: Prepared
const scratch: string[] = []

test.before('a holder at its second checkpoint', async () => {
  // ava's teardown is per test; these directories serve all tests of the file.
  const keep = { teardown: () => {} }
  const [one, two, three] = [await storeHost(keep), await storeHost(keep), await storeHost(keep)]
  scratch.push(one.stateDir, two.stateDir, three.stateDir)
  const it = await Held.begin(one, newVolume())
  const trees: Record<number, string[]> = {}
  edit(it.data, [...BEGINNING, ...changes(1)])
  trees[1] = describeTree(it.data)
  const first = await it.take()
  await it.copyTo(two, first)
  await it.copyTo(three, first)
  edit(it.data, changes(2))
  trees[2] = describeTree(it.data)
  await it.copyTo(three, await it.take())
  edit(it.data, changes(3))
  trees[3] = describeTree(it.data)
  for (const { store } of [one, two, three]) await store[Symbol.asyncDispose]()
  prepared = { volume: it.volume, holder: one.stateDir, copies: { 1: two.stateDir, 2: three.stateDir }, trees }
})

test.after.always('clean up', () => {
  for (const path of scratch) deleteTree(path)
})

function changes(seed: number): Edit[] {
  return [
    ['write', 'large', 10 * BLOCK_BYTES, seed],
    ['write', 'small', 100 * seed, seed],
    ['overwrite', 'c', seed * BLOCK_BYTES, 10, seed],
    ['append', 'grows', 3 * BLOCK_BYTES, seed],
    ['write', `new-${seed}`, 2 * BLOCK_BYTES, seed],
    ['mkdir', `directory-${seed}`],
  ]
}

async function copied(t: ExecutionContext, template: string): Promise<string> {
  const state = join(await temporaryDirectory(t), 'state')
  execFileSync('cp', ['-a', template, state])
  return state
}

/** Works in a child process that dies at a step; answers whether it did. */
async function dieAt(state: string, work: string, step: string, occurrence: number): Promise<boolean> {
  const script = join(import.meta.dirname, 'crashing-holder.ts')
  const child = spawn(process.execPath, [script, state, prepared.volume.id, work, step, String(occurrence)], {
    stdio: 'ignore',
  })
  const [, signal] = await once(child, 'exit')
  return signal === 'SIGKILL'
}

async function recovered(t: ExecutionContext, state: string): Promise<Held> {
  const one = await storeHost(t, state)
  await one.store.recover()
  const it = new Held(one, prepared.volume)
  it.seq = (await one.store.copy(prepared.volume.id))?.checkpoint?.seq ?? 0
  return it
}

const CHECKPOINT_STEPS: readonly (readonly [step: string, occurrence: number, seq: 2 | 3])[] = [
  ['spooled', 1, 2],
  ['frozen', 1, 2],
  ['captured', 1, 2],
  ['spool-synced', 1, 2],
  ['spool-index-kept', 1, 2],
  ['lists-kept', 1, 2],
  ['places-kept', 1, 2],
  ['seen-kept', 1, 2],
  ['manifest-kept', 1, 2],
  ['spool-placed', 1, 2],
  ['spool-recorded', 1, 3],
  ['lists-adopted', 1, 3],
  ['seen-adopted', 1, 3],
  ['manifest-adopted', 1, 3],
  ['live-dropped', 1, 3],
  ['old-spool-removed', 1, 3],
]

for (const [step, occurrence, seq] of CHECKPOINT_STEPS) {
  test.serial(`promise 5: killed at step ${step} of a checkpoint, number ${seq} stands and can be read`, async (t) => {
    const state = await copied(t, prepared.holder)
    t.true(await dieAt(state, 'checkpoint', step, occurrence), 'the step was reached')
    const it = await recovered(t, state)
    t.is(it.seq, seq)
    await checkGoesOn(t, it)
  })
}

test.serial('promise 5: killed while it recovers, the checkpoint stands all the same', async (t) => {
  const state = await copied(t, prepared.holder)
  for (const step of ['spool-recorded', 'lists-adopted', 'manifest-adopted', 'old-spool-removed']) {
    t.true(await dieAt(state, 'checkpoint', step, 1), step)
  }
  const it = await recovered(t, state)
  t.is(it.seq, 3)
  await checkGoesOn(t, it)
})

/** The checkpoint can be had from the spool while the tree moves on, and so can the next. */
async function checkGoesOn(t: ExecutionContext, it: Held): Promise<void> {
  const copy = await it.host.store.copy(it.volume.id)
  if (copy?.checkpoint == null) return t.fail()
  const spool = join(it.host.stateDir, 'volumes', it.volume.id, 'spool')
  t.deepEqual(readdirSync(spool), [copy.checkpoint.hash], 'one spool is left')
  edit(it.data, changes(4))
  const two = await storeHost(t, await copied(t, prepared.copies[it.seq - 1] ?? ''))
  t.true((await send(it.host.store, two.store, it.volume, 'spool')).complete)
  await two.store.apply(it.volume.id, copy.checkpoint)
  t.deepEqual(describeTree(two.data(it.volume.id)), prepared.trees[it.seq])
  await it.rounds(1)
  await it.copyTo(two, await it.take())
  t.deepEqual(describeTree(two.data(it.volume.id)), describeTree(it.data))
}

const DIVERGE_STEPS: readonly (readonly [step: string, done: boolean])[] = [
  ['diverge-begun', true],
  ['diverge-described', true],
  ['diverge-moved', true],
  ['diverge-kept-moved', true],
  ['diverge-recorded', true],
  ['diverge-emptied', true],
  ['diverge-ended', true],
]

for (const [step, done] of DIVERGE_STEPS) {
  test.serial(`promise 7: killed at step ${step}, a tree is put aside whole or not at all`, async (t) => {
    const state = await copied(t, prepared.holder)
    t.true(await dieAt(state, 'diverge', step, 1), 'the step was reached')
    const { host: one } = await recovered(t, state)
    const copy = await one.store.copy(prepared.volume.id)
    t.is(copy?.diverged.length, done ? 1 : 0)
    if (done) await checkPutAside(t, one)
    else t.deepEqual(describeTree(one.data(prepared.volume.id)), prepared.trees[3])
    if (!done) await one.store.diverge(prepared.volume.id, '2026-01-01T00:00:00.000Z', null)
    await checkPutAside(t, one)
  })
}

async function checkPutAside(t: ExecutionContext, { store, stateDir, data }: StoreHost): Promise<void> {
  const copy = await store.copy(prepared.volume.id)
  const [tree] = copy?.diverged ?? []
  t.like(copy, { held: null, checkpoint: null, mounts: {} })
  t.like(tree, { epoch: 1, base: { epoch: 1, seq: 2 }, at: '2026-01-01T00:00:00.000Z' })
  const place = join(stateDir, 'volumes', prepared.volume.id, 'diverged', tree?.name ?? '')
  t.deepEqual(describeTree(join(place, 'data')), prepared.trees[3])
  t.deepEqual(readdirSync(place), ['data', 'last.lists', 'last.manifest', 'last.places', 'last.seen', 'tree.json'])
  t.is(describeTree(data(prepared.volume.id)).length, 1)
}
