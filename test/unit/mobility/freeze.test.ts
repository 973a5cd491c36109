import test from 'ava'
import { freezeAndCapture } from '../../../agent/mobility/checkpoint/freeze.ts'
import { WherryError } from '../../../agent/model/errors.ts'
import type { UseMarks } from '../../../agent/store/contract.ts'
import { hashOf } from '../../fake/memory-store.ts'
import { HeldKit, ID } from './held-kit.ts'

const NO_USES: UseMarks = { unmountsMs: [], ground: null }

/** Starts a kit with a container on h1 that has written `ab`. */
async function written(): Promise<HeldKit> {
  const kit = await HeldKit.start(2)
  kit.host('h1').containers.run('c1')
  kit.write('ab')
  return kit
}

test('containers are frozen until the tree is, not until it is read; later writes come next time', async (t) => {
  const kit = await written()
  const { containers, store, context } = kit.host('h1')
  store.freezeMs = 100
  store.lastMs = 3_000
  await kit.clock.advance(10_700)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'])
  t.true(store.frozen.has(ID), 'it is being read')
  kit.write('abc')
  await kit.clock.advance(3_500)
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  const options = (await store.copy(ID))?.options
  if (options === undefined) return t.fail()
  t.is(context.checkpointScheduler.view(ID, options).pauseMs, 100)
  await kit.clock.advance(60_000)
  t.is((await kit.record()).last?.hash, hashOf('abc'))
  kit.stop()
})

test('others may pause as soon as a tree is frozen and its containers run again', async (t) => {
  const kit = await written()
  const { store, context, containers } = kit.host('h1')
  const local = await store.copy(ID)
  if (local === null) return t.fail()
  store.lastMs = 3_000
  const seen: unknown[] = []
  const inTurn = async <T>(pausing: () => Promise<T>): Promise<T> => {
    const moment = await pausing()
    seen.push([...containers.log], store.frozen.has(ID))
    return moment
  }
  const { capture } = await kit.clock.until(freezeAndCapture(context, local, inTurn, new AbortController().signal))
  t.deepEqual(seen, [['freeze c1', 'thaw c1'], true])
  t.is(capture.hash, hashOf('ab'))
  kit.stop()
})

test('a tree is not kept frozen for a failed checkpoint: too late, a container started, or not read', async (t) => {
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
    t.is(containers.log[0], 'freeze c1')
    t.deepEqual(containers.frozen, [])
    t.false(store.frozen.has(ID))
    t.is((await kit.record()).last?.seq, 1)
    kit.stop()
  }
})

test('a tree that is frozen when its volume is released is given up', async (t) => {
  const kit = await written()
  const { store, context } = kit.host('h1')
  store.lastMs = 60_000
  await kit.clock.advance(11_000)
  t.true(store.frozen.has(ID))
  context.releasing.add(ID)
  await kit.clock.until(context.checkpointScheduler.stop(ID))
  t.false(store.frozen.has(ID))
  kit.stop()
})

test('promise 13: a tree that was still being scanned at the end of the budget is not used', async (t) => {
  const kit = await written()
  const { store, containers } = kit.host('h1')
  // The store misses the signal and says that all is well.
  Object.assign(store, { freezeMs: 5_000, deaf: true })
  await kit.clock.advance(11_100)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1'], 'they run again at the end of the budget')
  kit.write('abc')
  await kit.clock.advance(6_000)
  t.false(store.frozen.has(ID))
  t.is((await kit.record()).last?.seq, 1)
  kit.stop()
})

test('promise 13: a freeze that ends while the store is about to say that it is done does not count', async (t) => {
  const kit = await written()
  const { store, containers } = kit.host('h1')
  const freeze = store.spoolFreeze.bind(store)
  store.spoolFreeze = async (...args) => {
    await freeze(...args)
    containers.freezes.cut('changed')
  }
  await kit.clock.advance(20_000)
  t.is((await kit.record()).last?.seq, 1)
  t.false(store.frozen.has(ID))
  kit.stop()
})

test('promise 13: a command in a container ends its freeze, and the checkpoint is taken a moment later', async (t) => {
  const kit = await written()
  const { store, containers } = kit.host('h1')
  const freeze = store.spoolFreeze.bind(store)
  let commands = 2
  store.spoolFreeze = async (...args) => {
    if (commands-- > 0) containers.freezes.cut('command')
    await freeze(...args)
  }
  await kit.clock.advance(11_000)
  t.deepEqual(containers.log, ['freeze c1', 'thaw c1', 'freeze c1', 'thaw c1', 'freeze c1', 'thaw c1'])
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  kit.stop()
})

test('a container that started and ended while a tree was frozen is noticed', async (t) => {
  const asleep = { id: 'c2', name: 'c2', volumes: ['data'] }
  const cases: Record<string, (kit: HeldKit) => unknown> = {
    'ended before': ({ hosts: [h1] }) => h1?.containers.ends.set('c2', new Date(2_000)),
    removed: ({ hosts: [h1] }) => {
      if (h1 !== undefined) h1.containers.users = h1.containers.users.filter(({ id }) => id !== 'c2')
    },
    'made and removed': async ({ hosts: [h1] }) => {
      const copy = await h1?.store.copy(ID)
      if (copy != null) h1?.context.containerUses.mounted({ ...copy, uses: NO_USES })
    },
  }
  for (const [name, happen] of Object.entries(cases)) {
    const kit = await written()
    const { store, containers } = kit.host('h1')
    containers.users.push({ ...asleep, state: 'exited' })
    containers.ends.set('c2', new Date(1_000))
    const freeze = store.spoolFreeze.bind(store)
    store.spoolFreeze = async (...args) => {
      await happen(kit)
      await freeze(...args)
    }
    await kit.clock.advance(11_000)
    t.is((await kit.record()).last?.seq, 1, name)
    t.false(store.frozen.has(ID), name)
    store.spoolFreeze = freeze
    await kit.clock.advance(30_000)
    t.is((await kit.record()).last?.hash, hashOf('ab'), `${name}: the next one is taken`)
    kit.stop()
  }
})

test('a container that waits for another of its volumes keeps no checkpoint from being taken', async (t) => {
  const kit = await written()
  const { containers } = kit.host('h1')
  containers.users.push({ id: 'c2', name: 'c2', state: 'created', volumes: ['data', 'held-elsewhere'] })
  containers.starting.add('c2')
  await kit.clock.advance(11_000)
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  kit.stop()
})

test('a container that was paused already is watched as well: if it is resumed, the tree is void', async (t) => {
  const kit = await HeldKit.start(2)
  const { containers } = kit.host('h1')
  containers.users.push({ id: 'c1', name: 'c1', state: 'paused', volumes: ['data'] })
  const asked: string[][] = []
  const freeze = containers.freezes.freeze.bind(containers.freezes)
  containers.freezes.freeze = async (ids, ...more) => {
    asked.push([...ids])
    return await freeze(ids, ...more)
  }
  kit.write('ab')
  await kit.clock.advance(11_000)
  t.deepEqual(asked, [['c1']])
  t.deepEqual(containers.log, [])
  t.is((await kit.record()).last?.hash, hashOf('ab'))
  kit.stop()
})

test('a container that ends while it is being frozen is no fault of its freezer', async (t) => {
  const kit = await written()
  const { context, store, containers } = kit.host('h1')
  const local = await store.copy(ID)
  if (local === null) return t.fail()
  const take = () =>
    kit.clock.until(freezeAndCapture(context, local, (pausing) => pausing(), new AbortController().signal))
  containers.freezes.error = new WherryError('FREEZER_UNREACHABLE', 'no freezer')
  await t.throwsAsync(take(), { code: 'FREEZER_UNREACHABLE' })
  containers.freezes.freeze = async () => {
    containers.users = containers.users.map((user) => ({ ...user, state: 'exited' }))
    throw containers.freezes.error
  }
  await t.throwsAsync(take(), { code: 'TREE_CHANGED', message: /c1 ended/ })
  containers.users = []
  containers.run('c1')
  containers.freezes.freeze = async () => {
    void kit.clock.sleep(600, new AbortController().signal).then(() => {
      containers.users = []
    })
    throw containers.freezes.error
  }
  await t.throwsAsync(take(), { code: 'TREE_CHANGED', message: /c1 ended/ }, 'listed as running for a moment longer')
  kit.stop()
})
