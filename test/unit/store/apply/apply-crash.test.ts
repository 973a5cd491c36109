import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../../agent/model/model.ts'
import { describeTree } from '../comparer.ts'
import { buildNew, buildOld, flagOld } from '../crash-trees.ts'
import {
  calm,
  captureCheckpoint,
  deleteTree,
  move,
  newVolume,
  send,
  storeHost,
  temporaryDirectory,
} from '../fixture.ts'

interface Prepared {
  readonly template: string
  readonly id: string
  readonly next: Checkpoint
  readonly old: string[]
  readonly fresh: string[]
}

let prepared: Prepared
const scratch: string[] = []

test.before('a receiver at checkpoint 1 with checkpoint 2 staged', async (t) => {
  // ava's teardown is per test; these directories serve all tests of the file.
  const keep = { teardown: () => {} }
  const [one, two] = [await storeHost(keep), await storeHost(keep)]
  scratch.push(one.stateDir, two.stateDir)
  const v = newVolume()
  await one.store.create(v)
  const data = one.data(v.id)
  buildOld(data)
  await move(one.store, two.store, v)
  const old = describeTree(two.data(v.id))
  t.deepEqual(old, describeTree(data))
  buildNew(data)
  const capture = await one.store.capture(v.id, 'quiet', calm)
  t.true((await send(one.store, two.store, v)).complete)
  await two.store[Symbol.asyncDispose]()
  await one.store[Symbol.asyncDispose]()
  prepared = { template: two.stateDir, id: v.id, next: captureCheckpoint(capture, 2), old, fresh: describeTree(data) }
})

test.after.always('clean up', () => {
  for (const path of scratch) deleteTree(path)
})

function childArguments(stateDir: string, step: string, occurrence: number): string[] {
  const script = join(import.meta.dirname, 'crashing-apply.ts')
  return [script, stateDir, prepared.id, JSON.stringify(prepared.next), step, String(occurrence)]
}

/** Applies in a child process that dies at a step; answers whether it did. */
async function dieAt(stateDir: string, step: string, occurrence: number): Promise<boolean> {
  const child = spawn(process.execPath, childArguments(stateDir, step, occurrence), { stdio: 'ignore' })
  const [, signal] = await once(child, 'exit')
  return signal === 'SIGKILL'
}

/**
 * Applies in a child process that is killed after some time, if it has not ended by then.
 * Returns whether it was killed, and how long it took.
 */
async function dieAfter(stateDir: string, delayMs: number): Promise<{ killed: boolean; tookMs: number }> {
  const child = spawn(process.execPath, childArguments(stateDir, '', 1), { stdio: ['ignore', 'pipe', 'ignore'] })
  const exit = once(child, 'exit')
  await once(child.stdout, 'data')
  const start = performance.now()
  const timer = setTimeout(() => child.kill('SIGKILL'), delayMs)
  const [, signal] = await exit
  clearTimeout(timer)
  return { killed: signal === 'SIGKILL', tookMs: performance.now() - start }
}

async function copyOfTemplate(t: ExecutionContext): Promise<string> {
  const state = join(await temporaryDirectory(t), 'state')
  execFileSync('cp', ['-a', prepared.template, state])
  flagOld(join(state, 'volumes', prepared.id, 'data'))
  return state
}

/** Recovers after a crash and checks promise 4. */
async function checkRecovered(
  t: ExecutionContext,
  stateDir: string,
  expected: 'old' | 'new' | 'either',
): Promise<void> {
  const { store, data } = await storeHost(t, stateDir)
  await store.recover()
  const copy = await store.copy(prepared.id)
  t.is(copy?.applying, false)
  const is = copy?.checkpoint?.seq === 2 ? 'new' : 'old'
  if (expected !== 'either') t.is(is, expected)
  t.deepEqual(describeTree(data(prepared.id)), is === 'old' ? prepared.old : prepared.fresh)
  await store.apply(prepared.id, prepared.next).catch((error) => {
    if (is === 'old') throw error
  })
  t.deepEqual(describeTree(data(prepared.id)), prepared.fresh, 'what was staged can still be applied')
  t.is((await store.capture(prepared.id, 'quiet', calm)).hash, prepared.next.hash)
  t.false(existsSync(join(stateDir, 'volumes', prepared.id, 'COMMIT')))
  t.false(existsSync(join(stateDir, 'volumes', prepared.id, 'stage')))
}

const STEPS: readonly (readonly [step: string, occurrence: number, expected: 'old' | 'new'])[] = [
  ['staged', 1, 'old'],
  ['committed', 1, 'new'],
  ['applying', 1, 'new'],
  ['flags-cleared', 1, 'new'],
  ['flags-cleared', 4, 'new'],
  ['removed', 1, 'new'],
  ['removed', 4, 'new'],
  ['removed', 8, 'new'],
  ['directory-placed', 1, 'new'],
  ['directory-placed', 3, 'new'],
  ['file-placed', 1, 'new'],
  ['file-placed', 4, 'new'],
  ['blocks-written', 1, 'new'],
  ['blocks-written', 3, 'new'],
  ['blocks-written', 5, 'new'],
  ['linked', 1, 'new'],
  ['linked', 3, 'new'],
  ['made', 1, 'new'],
  ['made', 3, 'new'],
  ['attributes-set', 1, 'new'],
  ['attributes-set', 3, 'new'],
  ['directory-settled', 1, 'new'],
  ['directory-settled', 6, 'new'],
  ['flags-set', 1, 'new'],
  ['flags-set', 5, 'new'],
  ['changed', 1, 'new'],
  ['verified', 1, 'new'],
  ['kept', 1, 'new'],
  ['recorded', 1, 'new'],
  ['dropped', 1, 'new'],
]

for (const [step, occurrence, expected] of STEPS) {
  test.serial(
    `promise 4: killed at step ${step} (${occurrence}), the copy is at the ${expected} checkpoint after recovery`,
    async (t) => {
      const state = await copyOfTemplate(t)
      t.true(await dieAt(state, step, occurrence), 'the step was reached')
      await checkRecovered(t, state, expected)
    },
  )
}

for (const cut of ['not begun', 'begun']) {
  test.serial(
    `what a kill leaves of the stage after an apply goes at the next start, its removal ${cut}`,
    async (t) => {
      const state = await copyOfTemplate(t)
      t.true(await dieAt(state, 'dropped', 1))
      const stage = join(state, 'volumes', prepared.id, 'stage')
      t.true(existsSync(join(stage, 'manifest')))
      if (cut === 'begun') rmSync(join(stage, 'manifest'))
      const { store } = await storeHost(t, state)
      await store.recover()
      t.false(existsSync(stage))
      t.is((await store.copy(prepared.id))?.checkpoint?.hash, prepared.next.hash)
    },
  )
}

/** Different times at each run of the tests; the test's messages name them. */
const RANDOM_KILLS = 15
/** An apply of these trees takes about a second. */
const TOO_LONG_MS = 60_000

test.serial(
  `promise 4: killed at ${RANDOM_KILLS} random times, the copy is at the old or the new checkpoint`,
  async (t) => {
    const { killed, tookMs } = await dieAfter(await copyOfTemplate(t), TOO_LONG_MS)
    t.false(killed)
    for (let nth = 0; nth < RANDOM_KILLS; nth += 1) {
      const delayMs = Math.round(Math.random() * tookMs)
      const state = await copyOfTemplate(t)
      const cut = (await dieAfter(state, delayMs)).killed
      t.log(`killed after ${delayMs} ms${cut ? '' : ', when it had ended'}`)
      await checkRecovered(t, state, cut ? 'either' : 'new')
    }
  },
)

test.serial(
  'promise 4: killed again and again while recovering, the copy still arrives at the new checkpoint',
  async (t) => {
    const state = await copyOfTemplate(t)
    for (const [step, occurrence] of [
      ['file-placed', 2],
      ['file-placed', 2],
      ['removed', 1],
      ['blocks-written', 1],
      ['blocks-written', 1],
      ['directory-settled', 1],
      ['flags-set', 2],
      ['recorded', 1],
    ] as const) {
      await dieAt(state, step, occurrence)
    }
    await checkRecovered(t, state, 'new')
  },
)

test.serial('promise 4: while an apply is unfinished the copy is neither mounted nor sent nor captured', async (t) => {
  const state = await copyOfTemplate(t)
  t.true(await dieAt(state, 'file-placed', 2))
  const { store } = await storeHost(t, state)
  t.true((await store.copy(prepared.id))?.applying)
  await t.throwsAsync(store.mount(prepared.id), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(store.reader({ id: prepared.id, kind: 'last' }), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(store.capture(prepared.id, 'quiet', calm), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(store.verify(prepared.id, calm), { code: 'COPY_DAMAGED' })
})
