import test from 'ava'
import { WherryError } from '../../../agent/errors.ts'
import { captureInstant } from '../../../agent/mobility/instant.ts'
import { HeldKit, ID } from './held-kit.ts'
import { hashOf } from './memory-store.ts'

/** With a container on h1 that has written `ab`. */
async function written(): Promise<HeldKit> {
  const kit = await HeldKit.start(2)
  kit.host('h1').containers.run('c1')
  kit.write('ab')
  return kit
}

test('containers stand still until the tree is frozen, not until it is read, and what they write then is in the next checkpoint', async (t) => {
  const kit = await written()
  const { containers, store, core } = kit.host('h1')
  store.freezeMs = 100
  store.lastMs = 3_000
  await kit.clock.advance(10_700)
  t.deepEqual(containers.log, ['pause c1', 'resume c1'])
  t.true(store.frozen.has(ID), 'it is being read')
  kit.write('abc')
  await kit.clock.advance(3_500)
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  const options = (await store.copy(ID))?.options
  if (options === undefined) return t.fail()
  t.is(core.checkpointing.view(ID, options).pauseMs, 100)
  await kit.clock.advance(60_000)
  t.is((await kit.record()).last?.hash, hashOf('abc'))
  kit.stop()
})

test('others may pause as soon as a tree is frozen and its containers run again', async (t) => {
  const kit = await written()
  const { store, core, containers } = kit.host('h1')
  const local = await store.copy(ID)
  if (local === null) return t.fail()
  store.lastMs = 3_000
  const seen: unknown[] = []
  const inTurn = async <T>(pausing: () => Promise<T>): Promise<T> => {
    const moment = await pausing()
    seen.push([...containers.log], store.frozen.has(ID))
    return moment
  }
  const { capture } = await kit.clock.until(captureInstant(core, local, inTurn, new AbortController().signal))
  t.deepEqual(seen, [['pause c1', 'resume c1'], true])
  t.is(capture.hash, hashOf('ab'))
  kit.stop()
})

test('a tree that was frozen in vain is not kept so: too late, while a container started, or cut off when it was read', async (t) => {
  const cases: ((kit: HeldKit) => void)[] = [
    (kit) => {
      Object.assign(kit.host('h1').store, { freezeMs: 5_000, deaf: true })
    },
    (kit) => {
      const { store, containers } = kit.host('h1')
      const freeze = store.spoolFreeze.bind(store)
      store.spoolFreeze = async (...args) => {
        containers.run('c2')
        await freeze(...args)
      }
    },
    (kit) => {
      kit.host('h1').store.spoolLast = async () => {
        throw new WherryError('TREE_CHANGED', 'not kept')
      }
    },
  ]
  for (const prepare of cases) {
    const kit = await written()
    prepare(kit)
    const { store, containers } = kit.host('h1')
    await kit.clock.advance(18_000)
    t.is(containers.log[0], 'pause c1')
    t.deepEqual(containers.paused, [])
    t.false(store.frozen.has(ID))
    t.is((await kit.record()).last?.seq, 1)
    kit.stop()
  }
})

test('a tree that is frozen when its volume is released is given up', async (t) => {
  const kit = await written()
  const { store, core } = kit.host('h1')
  store.lastMs = 60_000
  await kit.clock.advance(11_000)
  t.true(store.frozen.has(ID))
  core.releasing.add(ID)
  await kit.clock.until(core.checkpointing.stop(ID))
  t.false(store.frozen.has(ID))
  kit.stop()
})
