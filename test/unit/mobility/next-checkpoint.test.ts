import test from 'ava'
import { nextCheckpoint } from '../../../agent/mobility/hold/release.ts'
import type { Checkpoint } from '../../../agent/model/model.ts'
import { DEFAULT_OPTIONS } from '../../../agent/model/volume-options.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { HeldKit, ID } from './held-kit.ts'
import { World } from './world.ts'

const never = new AbortController().signal

test('promise 14: the last writes of a container that ends during a commit get a number of their own', async (t) => {
  const world = await World.start(2)
  const h1 = world.host(1)
  await h1.agent.create('data', { ...DEFAULT_OPTIONS, copies: 2 })
  await world.use(2, 'data', 'zero')
  await world.clock.until(h1.agent.mount('data', 'm', 100_000))
  const { id } = await world.record('data')
  h1.users = [{ id: 'c1', name: 'files', state: 'running', volumes: ['data'] }]
  const committing = Promise.withResolvers<Checkpoint>()
  const commit = h1.store.spoolCommit.bind(h1.store)
  h1.store.spoolCommit = async (volume, checkpoint) => {
    committing.resolve(checkpoint)
    await world.clock.sleep(3_000, never)
    await commit(volume, checkpoint)
  }
  h1.store.trees.set(id, 'one')
  const taken = await world.clock.until(committing.promise)
  h1.store.trees.set(id, 'one and the last words')
  h1.users = []
  await h1.agent.unmount('data', 'm')
  await world.pass(10_000)
  const { holder, last } = await world.record('data')
  t.is(holder, null)
  t.like(taken, { hash: hashOf('one') })
  t.like(last, { epoch: taken.epoch, seq: taken.seq + 1, hash: hashOf('one and the last words') })
})

test('promise 14: a number is given by the copy as it is, however old the read that led there', async (t) => {
  const kit = await HeldKit.start(1)
  const { context, store } = kit.host('h1')
  const local = await store.copy(ID)
  if (local?.checkpoint == null) return t.fail()
  await store.update(ID, { checkpoint: { ...local.checkpoint, epoch: 2, seq: 2, hash: hashOf('ab') } })
  kit.write('abc')
  const found = await store.capture(ID, 'quiet', never)
  t.like(await nextCheckpoint(context, local, found), { epoch: 2, seq: 3, hash: hashOf('abc') })
  kit.stop()
})
