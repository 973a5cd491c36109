import { execFile, execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { Checkpoint } from '../../../agent/model.ts'
import { describeTree } from './comparer.ts'
import { calm, checkpoint, directory, host, move, send, volume } from './fixture.ts'
import { buildOddTree } from './odd-tree.ts'

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
  const keep = { ...t, teardown: () => {} } as unknown as ExecutionContext
  const [one, two] = [await host(keep), await host(keep)]
  scratch.push(one.stateDir, two.stateDir)
  const v = volume()
  await one.store.create(v)
  const data = one.data(v.id)
  buildOddTree(data)
  await move(one.store, two.store, v)
  const old = describeTree(two.data(v.id))
  rmSync(join(data, 'a'), { recursive: true })
  writeFileSync(join(data, 'a'), 'directory became file')
  unlinkSync(join(data, 'zeros'))
  mkdirSync(join(data, 'zeros'))
  for (const name of ['inside', 'twice', 'thrice']) writeFileSync(join(data, 'zeros', name), 'file became directory')
  renameSync(join(data, 'plain', 'big'), join(data, 'plain', 'deep', 'moved'))
  unlinkSync(join(data, 'hard2'))
  writeFileSync(join(data, 'hard2'), 'hello')
  appendFileSync(join(data, 'acl', 'file'), 'more')
  execFileSync('sh', ['-c', 'chown 3:4 plain/hello; chmod 4711 plain/hello; rm fifo; ln -s x fifo; chmod 700 .'], {
    cwd: data,
  })
  const capture = await one.store.capture(v.id, 'quiet', calm)
  await send(one.store, two.store, v)
  await two.store[Symbol.asyncDispose]()
  await one.store[Symbol.asyncDispose]()
  prepared = { template: two.stateDir, id: v.id, next: checkpoint(capture, 2), old, fresh: describeTree(data) }
})

test.after.always('clean up', () => {
  if (scratch.length > 0) execFileSync('rm', ['-rf', ...scratch])
})

/** Applies in a child process that dies at a step; answers whether it did. */
function dieAt(stateDir: string, step: string, occurrence: number): Promise<boolean> {
  const script = join(import.meta.dirname, 'crashing-apply.ts')
  const args = [script, stateDir, prepared.id, JSON.stringify(prepared.next), step, String(occurrence)]
  return new Promise((resolve) => {
    execFile(process.execPath, args, (error) => resolve(error?.signal === 'SIGKILL'))
  })
}

async function copyOfTemplate(t: ExecutionContext): Promise<string> {
  const state = join(await directory(t), 'state')
  execFileSync('cp', ['-a', prepared.template, state])
  return state
}

/** Recovers after a crash and checks promise 4. */
async function checkRecovered(t: ExecutionContext, stateDir: string, expected: 'old' | 'new'): Promise<void> {
  const { store, data } = await host(t, stateDir)
  await store.recover()
  const copy = await store.copy(prepared.id)
  t.is(copy?.applying, false)
  t.is(copy?.checkpoint?.seq, expected === 'old' ? 1 : 2)
  t.deepEqual(describeTree(data(prepared.id)), expected === 'old' ? prepared.old : prepared.fresh)
  await store.apply(prepared.id, prepared.next).catch((error) => {
    if (expected === 'old') throw error
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
  ['removed', 1, 'new'],
  ['removed', 3, 'new'],
  ['placed', 1, 'new'],
  ['placed', 4, 'new'],
  ['placed', 7, 'new'],
  ['attributes-set', 1, 'new'],
  ['directory-settled', 2, 'new'],
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
      if (step === 'dropped') execFileSync('rm', ['-rf', join(state, 'volumes', prepared.id, 'stage')])
      await checkRecovered(t, state, expected)
    },
  )
}

test.serial(
  'promise 4: killed again and again while recovering, the copy still arrives at the new checkpoint',
  async (t) => {
    const state = await copyOfTemplate(t)
    for (const [step, occurrence] of [
      ['placed', 2],
      ['placed', 2],
      ['removed', 1],
      ['directory-settled', 1],
      ['recorded', 1],
    ] as const) {
      await dieAt(state, step, occurrence)
    }
    await checkRecovered(t, state, 'new')
  },
)

test.serial('promise 4: while an apply is unfinished the copy is neither mounted nor sent nor captured', async (t) => {
  const state = await copyOfTemplate(t)
  t.true(await dieAt(state, 'placed', 2))
  const { store } = await host(t, state)
  t.true((await store.copy(prepared.id))?.applying)
  await t.throwsAsync(store.mount(prepared.id), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(store.reader(prepared.id, 'last'), { code: 'COPY_DAMAGED' })
  await t.throwsAsync(store.capture(prepared.id, 'quiet', calm), { code: 'COPY_DAMAGED' })
})
