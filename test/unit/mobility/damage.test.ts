import test from 'ava'
import { WherryError } from '../../../agent/model/errors.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { peerAt } from '../../fake/peer-identity.ts'
import { World } from './world.ts'

const DEADLINE_MS = 100_000
const calm = new AbortController().signal

/**
 * Two hosts and an idle volume at a checkpoint; h2 has a copy if `copies` is 2. Somebody then changes the tree of h1.
 */
async function changed(copies: 1 | 2): Promise<{ world: World; id: string }> {
  const world = await World.start(2)
  await world.host(1).agent.create('data', { ...DEFAULT_OPTIONS, copies })
  await world.use(1, 'data', 'one')
  await world.clock.advance(30_000)
  const { id } = await world.record('data')
  world.host(1).store.trees.set(id, 'somebody wrote into it')
  return { world, id }
}

async function refusal(world: World, host: number): Promise<{ error: WherryError; tookMs: number }> {
  const startMs = world.clock.elapsedMs()
  const error = await world.clock.until(
    world
      .host(host)
      .agent.mount('data', 'm', DEADLINE_MS)
      .then(
        () => new WherryError('INTERNAL', 'it was mounted'),
        (error: WherryError) => error,
      ),
  )
  return { error, tookMs: world.clock.elapsedMs() - startMs }
}

test('a copy that was changed while nobody used it is made whole from another host by the Mount that finds it', async (t) => {
  const { world, id } = await changed(2)
  await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
  t.is(world.host(1).store.trees.get(id), 'one')
})

test('the only copy that was changed: a Mount on any host says so at once, and all hosts show it', async (t) => {
  const { world, id } = await changed(1)
  const { error, tookMs } = await refusal(world, 2)
  t.true(tookMs < 10_000, `${tookMs} ms`)
  t.regex(error.message, /h1 .*is not what checkpoint 1\.1 says \("file"\)/)
  t.regex(error.hint ?? '', /wherry verify data/)
  t.is((await world.record('data')).copies.h1?.state, 'behind')
  await world.clock.advance(2_000)
  for (const host of [1, 2]) {
    const view = await world.clock.until(world.host(host).agent.get('data', calm))
    t.is(view.copies.find((copy) => copy.host === 'h1')?.why, 'damaged: "file"', `h${host}`)
  }
  const own = await refusal(world, 1)
  t.is(own.error.code, 'COPY_DAMAGED')
  t.true(own.tookMs < 10_000, `${own.tookMs} ms`)
  t.is(world.host(1).store.trees.get(id), 'somebody wrote into it', 'it stays as it is')
})

test('a change that was undone is forgotten: by a verification, or by a Mount on that host', async (t) => {
  for (const how of ['verify', 'mount'] as const) {
    const { world, id } = await changed(1)
    await refusal(world, 2)
    await world.host(1).restart()
    world.host(1).store.trees.set(id, 'one')
    if (how === 'verify') {
      await world.clock.until(world.host(1).agent.verify('data', calm))
      t.is((await world.record('data')).copies.h1?.state, 'current')
      await world.clock.until(world.host(2).agent.mount('data', 'm', DEADLINE_MS))
    } else {
      await world.clock.until(world.host(1).agent.mount('data', 'm', DEADLINE_MS))
    }
    t.is(world.host(how === 'verify' ? 2 : 1).store.trees.get(id), 'one')
  }
})

test('a copy that catches up from one that was changed makes that known, although nobody mounts the volume', async (t) => {
  const { world } = await changed(2)
  const { agent, store } = world.host(1)
  store.trees.set((await world.record('data')).id, 'one')
  await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
  store.trees.set((await world.record('data')).id, 'two')
  await agent.unmount('data', 'm')
  await world.clock.advance(500)
  store.trees.set((await world.record('data')).id, 'somebody wrote into it')
  await world.clock.advance(10_000)
  t.is((await world.record('data')).copies.h1?.state, 'behind')
  const view = await world.clock.until(world.host(2).agent.get('data', calm))
  t.true(view.copies.some(({ host, why }) => host === 'h1' && why === 'damaged: "file"'))
  t.true(world.pulls.length < 5, `${world.pulls.length} pulls`)
})

test('a copy whose disk is damaged where a look shows nothing is read again when another host doubts it', async (t) => {
  const { world, id } = await changed(1)
  const { store } = world.host(1)
  const { capture } = store
  // Content that rots without a change of any time stamp.
  store.capture = async (...call) => ({ ...(await capture.apply(store, call)), hash: hashOf('one') })
  await store.update(id, { damaged: null })
  const { error } = await refusal(world, 2)
  t.regex(error.message, /h1 .*is not what checkpoint 1\.1 says/)
  await world.clock.advance(10_000)
  t.is((await world.record('data')).copies.h1?.state, 'behind')
})

test('hosts that ask for a comparison again and again, while one takes long, cost no more than one', async (t) => {
  const { world, id } = await changed(1)
  const { agent, store } = world.host(1)
  store.trees.set(id, 'one')
  store.captureMs = 120_000
  const before = store.captures
  for (let asked = 0; asked < 20; asked++) {
    const signal = world.clock.deadline(4_000)
    agent.answer({ kind: 'compare', volume: id, doubted: false }, peerAt('h2'), signal).catch(() => undefined)
    await world.clock.advance(5_000)
  }
  await world.clock.advance(10 * 120_000)
  t.is(store.captures - before, 1)
})

test('a copy that is found damaged just before it is held is not held: it is looked at again', async (t) => {
  const { world, id } = await changed(1)
  const { agent, store } = world.host(1)
  store.trees.set(id, 'one')
  const { update } = store
  let isFound = false
  store.update = async (...[copy, change]) => {
    if (change.held != null && !isFound) {
      isFound = true
      await update.call(store, copy, { damaged: ['"file"'] })
    }
    return await update.call(store, copy, change)
  }
  await world.clock.until(agent.mount('data', 'm', DEADLINE_MS))
  t.true(isFound)
  t.like(await store.copy(id), { damaged: null, held: { epoch: 2 } })
})

test('a copy that another host doubts is read again to the end, however often that host asks meanwhile', async (t) => {
  const { world, id } = await changed(1)
  const { store } = world.host(1)
  const { capture } = store
  // Content that rots without a change of any time stamp: a look sees nothing, and reading all of it takes long.
  store.captureMs = 30_000
  store.capture = async (...call) => {
    store.captureMs = 0
    const found = await capture.apply(store, call)
    store.captureMs = 30_000
    await store.update(id, { damaged: null })
    return { ...found, hash: hashOf('one') }
  }
  const { error, tookMs } = await refusal(world, 2)
  t.regex(error.message, /h1 .*is not what checkpoint 1\.1 says \("file"\)/)
  t.true(tookMs < 60_000, `${tookMs} ms`)
  t.is((await world.record('data')).copies.h1?.state, 'behind')
})
